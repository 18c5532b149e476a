//! Finished rounds on disk, one file each: two hours of measuring are not lost to a power cut, nor
//! measured again because one more policy is asked for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::super::grid::Group;
use super::measure::Measured;

/// The folder with the rounds.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
}

/// Which round of which cell.
#[derive(Debug)]
pub(super) struct Key {
    cell: String,
    policy: String,
    pub(super) round: u32,
}

/// Why a round cannot be kept or read.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder cannot be made.
    #[error("cannot make the folder {folder}: {source}", folder = folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot keep the round in {path}: {source}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read the round in {path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} is no finished round ({source}): remove it to measure again",
        path = path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
}

impl Store {
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let folder = folder.join("rounds");
        let failed = |source| StoreError::Folder { folder: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        Ok(Self { folder })
    }

    /// The tries of a round that is done; none when it is not.
    pub(super) fn load(&self, key: &Key) -> Result<Option<Vec<Measured>>, StoreError> {
        let path = self.path(key);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|source| StoreError::Parse { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Read { path, source }),
        }
    }

    /// Keeps the tries of a round, whole or not at all.
    pub(super) fn save(&self, key: &Key, tries: &[Measured]) -> Result<(), StoreError> {
        let path = self.path(key);
        let text = serde_json::to_string(tries).expect("plain data becomes JSON");
        let draft = path.with_extension("part");
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|source| StoreError::Write { path, source })
    }

    fn path(&self, key: &Key) -> PathBuf {
        let Key { cell, policy, round } = key;
        self.folder.join(format!("{cell}--{}--r{round}.json", policy.replace(':', "-")))
    }
}

impl Key {
    pub(super) fn new(group: &Group, policy: &str, round: u32) -> Self {
        Self { cell: group.slug(), policy: policy.to_owned(), round }
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        format!("{} {}, round {}", self.cell, self.policy, self.round + 1)
    }
}
