//! What is kept of each worker, by its name: an index, and how many have had that index before. A
//! name that is out of date finds nothing.

use alloc::vec::Vec;

use crate::units::WorkerId;

/// One `T` per worker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workers<T>(Vec<Entry<T>>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry<T> {
    /// That of who is here, or was last.
    epoch: u32,
    kept: Option<T>,
}

impl<T> Workers<T> {
    /// A table without workers.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A name that no worker has had, at the lowest index that is free; `None` where `max` indices
    /// are in use.
    pub fn vacant(&self, max: usize) -> Option<WorkerId> {
        let free = self.0.iter().position(|entry| entry.kept.is_none());
        let index = free.or_else(|| (self.0.len() < max).then_some(self.0.len()))?;
        let epoch = self.0.get(index).map_or(0, |entry| entry.epoch).wrapping_add(1);
        Some(WorkerId { index: u16::try_from(index).ok()?, epoch })
    }

    /// Keeps this of a worker; what was kept of whoever had its index goes, and is returned.
    pub fn insert(&mut self, worker: WorkerId, kept: T) -> Option<T> {
        let WorkerId { index, epoch } = worker;
        if self.0.len() <= usize::from(index) {
            self.0.resize_with(usize::from(index) + 1, || Entry { epoch: 0, kept: None });
        }
        core::mem::replace(&mut self.0[usize::from(index)], Entry { epoch, kept: Some(kept) }).kept
    }

    /// Keeps nothing more of a worker, and returns what was.
    pub fn remove(&mut self, worker: WorkerId) -> Option<T> {
        let entry = self.0.get_mut(worker.index())?;
        if entry.epoch == worker.epoch { entry.kept.take() } else { None }
    }

    /// What is kept of a worker.
    pub fn get(&self, worker: WorkerId) -> Option<&T> {
        let entry = self.0.get(worker.index())?;
        if entry.epoch == worker.epoch { entry.kept.as_ref() } else { None }
    }

    /// What is kept of a worker, to be changed.
    pub fn get_mut(&mut self, worker: WorkerId) -> Option<&mut T> {
        let entry = self.0.get_mut(worker.index())?;
        if entry.epoch == worker.epoch { entry.kept.as_mut() } else { None }
    }

    /// How many indices there are, with or without a worker.
    pub const fn indices(&self) -> usize {
        self.0.len()
    }

    /// The name of the worker at an index.
    pub fn name_at(&self, index: usize) -> Option<WorkerId> {
        let entry = self.0.get(index)?;
        entry.kept.as_ref()?;
        Some(WorkerId { index: u16::try_from(index).ok()?, epoch: entry.epoch })
    }

    /// Whether there is no worker.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|entry| entry.kept.is_none())
    }

    /// All workers, by their indices.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &T)> {
        (0..).zip(&self.0).filter_map(|(index, Entry { epoch, kept })| {
            Some((WorkerId { index, epoch: *epoch }, kept.as_ref()?))
        })
    }

    /// All workers, by their indices, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (WorkerId, &mut T)> {
        (0..).zip(&mut self.0).filter_map(|(index, Entry { epoch, kept })| {
            Some((WorkerId { index, epoch: *epoch }, kept.as_mut()?))
        })
    }
}

impl<T> Default for Workers<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_its_worker_and_not_the_next_one_at_its_index() {
        let mut workers = Workers::new();
        let first = workers.vacant(2).unwrap();
        assert_eq!(workers.insert(first, 'a'), None);
        let second = workers.vacant(2).unwrap();
        workers.insert(second, 'b');
        assert_eq!((first.index, second.index, workers.vacant(2)), (0, 1, None));
        assert_eq!(workers.get(first), Some(&'a'));
        assert_eq!(workers.remove(first), Some('a'));
        assert_eq!((workers.get(first), workers.name_at(0)), (None, None));
        assert_eq!(workers.remove(first), None);
        let third = workers.vacant(2).unwrap();
        assert_eq!((third.index, third.epoch), (0, first.epoch + 1));
        workers.insert(third, 'c');
        assert_eq!(workers.get(first), None);
        assert_eq!(workers.get_mut(first), None);
        assert_eq!(workers.remove(first), None, "it is another's index");
        assert_eq!(workers.name_at(0), Some(third));
        let all: Vec<_> = workers.iter().collect();
        assert_eq!(all, [(third, &'c'), (second, &'b')]);
        assert_eq!(workers.insert(first, 'd'), Some('c'), "whoever inserts knows");
    }

    #[test]
    fn a_table_is_as_long_as_the_highest_index_asks_for() {
        let mut workers = Workers::default();
        assert!(workers.is_empty());
        let worker = WorkerId { index: 7, epoch: 3 };
        workers.insert(worker, ());
        assert_eq!((workers.indices(), workers.name_at(6)), (8, None));
        assert_eq!(workers.name_at(8), None);
        assert_eq!(workers.vacant(9).map(|it| it.index), Some(0));
        workers.iter_mut().for_each(|(name, ())| assert_eq!(name, worker));
        workers.remove(worker);
        assert!(workers.is_empty());
    }
}
