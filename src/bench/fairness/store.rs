//! Finished rounds on disk, one file each: two hours of measuring are not lost to a power cut, nor
//! measured again because one more policy is asked for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::super::grid::GridGroup;
use super::super::result::Stall;
use super::measure::Measured;

/// The folder with the rounds.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
}

/// Which round of which cell.
#[derive(Debug)]
pub(super) struct RoundKey {
    cell: String,
    policy: String,
    pub(super) round: u32,
}

/// Why a round cannot be kept or read.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder cannot be made.
    #[error("cannot make the folder {folder}", folder = folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot keep the round in {path}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read the round in {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} is not a finished round (remove it to measure again)",
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

    /// The tries of a round; none when there was none.
    pub(super) fn load(&self, key: &RoundKey) -> Result<Option<Vec<Measured>>, StoreError> {
        read(self.round(key))
    }

    /// Keeps the tries of a round, whole or not at all.
    pub(super) fn save(&self, key: &RoundKey, tries: &[Measured]) -> Result<(), StoreError> {
        write(self.round(key), tries)
    }

    /// What the stall test of a cell found; none when it was not made.
    pub(super) fn load_stall(&self, key: &RoundKey) -> Result<Option<Stall>, StoreError> {
        read(self.stall(key))
    }

    /// Keeps what the stall test of a cell found.
    pub(super) fn save_stall(&self, key: &RoundKey, stall: &Stall) -> Result<(), StoreError> {
        write(self.stall(key), stall)
    }

    fn round(&self, key: &RoundKey) -> PathBuf {
        self.folder.join(format!("{}--r{}.json", key.file(), key.round))
    }

    fn stall(&self, key: &RoundKey) -> PathBuf {
        self.folder.join(format!("{}--stall.json", key.file()))
    }
}

fn read<T: DeserializeOwned>(path: PathBuf) -> Result<Option<T>, StoreError> {
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|source| StoreError::Parse { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Read { path, source }),
    }
}

fn write<T: Serialize + ?Sized>(path: PathBuf, what: &T) -> Result<(), StoreError> {
    let text = serde_json::to_string(what).expect("plain data becomes JSON");
    let draft = path.with_extension("part");
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(|source| StoreError::Write { path, source })
}

impl RoundKey {
    pub(super) fn new(group: &GridGroup, policy: &str, round: u32) -> Self {
        Self { cell: group.slug(), policy: policy.to_owned(), round }
    }

    fn file(&self) -> String {
        format!("{}--{}", self.cell, self.policy.replace([':', '/'], "-"))
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        format!("{} {}, round {}", self.cell, self.policy, self.round + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::grid::{Axes, ConnectionSharing};
    use super::super::super::result::Medium;
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_what_was_spoiled_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let axes = Axes {
            workers: vec![2],
            mixes: vec!["bim10".into()],
            medium: Medium::Sleep,
            unit_ms: 1.0,
            loads: vec![0.5],
            sharings: vec![ConnectionSharing::Close],
            speeds: Vec::new(),
            policies: vec!["jbsq:2".into()],
        };
        let key = RoundKey::new(&axes.groups().unwrap()[0], "jbsq:2", 3);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.load(&key).unwrap(), None);
        store.save(&key, &[]).unwrap();
        assert_eq!(store.load(&key).unwrap(), Some(Vec::new()));
        let stall = Stall { stops: 3, ..Stall::default() };
        store.save_stall(&key, &stall).unwrap();
        assert_eq!(store.load_stall(&key).unwrap(), Some(stall));
        fs::write(store.round(&key), "[{").unwrap();
        let error = store.load(&key).unwrap_err().to_string();
        assert!(error.contains("jbsq-2--r3.json is not a finished round"), "{error}");
        let error = Store::open(&store.round(&key)).unwrap_err().to_string();
        assert!(error.starts_with("cannot make the folder"), "{error}");
    }
}
