//! Empty buffers for the next connection, so that a busy worker asks the allocator for nothing.

use crate::limits::{HTTP_BUFFER, HTTP_BUFFERS_KEPT, HTTP_CHUNK};

/// A bounded number of empty buffers.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    vacant: Vec<Vec<u8>>,
}

impl Buffers {
    /// An empty buffer with room in it.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.vacant.pop().unwrap_or_else(|| Vec::with_capacity(HTTP_BUFFER))
    }

    /// Keeps the buffer for another time, unless it is one of those that one large request made
    /// large, or there are enough.
    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        let sized = (HTTP_BUFFER..=2 * HTTP_CHUNK).contains(&buffer.capacity());
        if sized && self.vacant.len() < HTTP_BUFFERS_KEPT {
            buffer.clear();
            self.vacant.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_empty_bounded_and_of_common_size() {
        let mut buffers = Buffers::default();
        buffers.give(Vec::new());
        buffers.give(Vec::with_capacity(1 << 20));
        assert!(buffers.vacant.is_empty());
        for _ in 0..=HTTP_BUFFERS_KEPT {
            buffers.give(vec![1; HTTP_CHUNK]);
        }
        assert_eq!(buffers.vacant.len(), HTTP_BUFFERS_KEPT);
        let buffer = buffers.take();
        assert!(buffer.is_empty() && HTTP_CHUNK <= buffer.capacity());
    }
}
