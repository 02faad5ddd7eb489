//! The buffers that requests are received into. They are made of huge pages, where the kernel gives any, and used again,
//! the last one first: a fault for each 4 KiB of what is in flight costs a tenth of the CPU time of a short restore, and
//! what was used last is still in the cache.

use std::alloc::{Layout, handle_alloc_error};
use std::sync::{Arc, Mutex};

use memmap2::{Advice, MmapMut};
use mountpoint_s3_crt::s3::client::MetaRequest;
use mountpoint_s3_crt::s3::pool::{Cancellation, CancellationToken, MemoryPool};

use super::client::lock;

const HUGE_PAGE: usize = 2 << 20;

/// Gives as many buffers as are asked for: how many that is, the requests in flight decide.
#[derive(Clone)]
pub struct BufferPool {
    /// What a request of the usual length needs. Smaller ones get as much and touch less of it.
    usual: usize,
    free: Arc<Mutex<Vec<MmapMut>>>,
}

/// A buffer that goes back to its pool.
pub struct PooledBuffer {
    memory: Option<MmapMut>,
    size: usize,
    pool: BufferPool,
}

impl BufferPool {
    pub fn new(usual: usize) -> BufferPool {
        BufferPool { usual, free: Arc::default() }
    }

    fn get(&self, size: usize) -> PooledBuffer {
        let used = {
            let mut free = lock(&self.free);
            let fits = free.iter().rposition(|memory| memory.len() >= size + HUGE_PAGE);
            fits.map(|at| free.remove(at))
        };
        let memory = used.unwrap_or_else(|| map(size.max(self.usual)));
        PooledBuffer { memory: Some(memory), size, pool: self.clone() }
    }
}

/// One huge page more than is asked for, so that whole ones can begin anywhere; of what is not used none is taken.
fn map(size: usize) -> MmapMut {
    let length = size.next_multiple_of(HUGE_PAGE) + HUGE_PAGE;
    let memory = MmapMut::map_anon(length)
        .unwrap_or_else(|_| handle_alloc_error(Layout::array::<u8>(length).unwrap_or(Layout::new::<u8>())));
    // Without huge pages everything works all the same.
    let _ = memory.advise(Advice::HugePage);
    memory
}

impl AsMut<[u8]> for PooledBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        let memory = self.memory.as_deref_mut().unwrap_or_default();
        let start = memory.as_ptr().align_offset(HUGE_PAGE);
        memory.get_mut(start..).and_then(|rest| rest.get_mut(..self.size)).unwrap_or_default()
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            lock(&self.pool.free).push(memory);
        }
    }
}

impl MemoryPool for BufferPool {
    type Buffer = PooledBuffer;

    async fn get_buffer_async(
        &self,
        size: usize,
        _: &MetaRequest,
        _: CancellationToken,
    ) -> Result<PooledBuffer, Cancellation> {
        Ok(self.get(size))
    }

    fn trim(&self) -> bool {
        let unused = std::mem::take(&mut *lock(&self.free));
        !unused.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: usize = 8 << 20;

    fn free(pool: &BufferPool) -> usize {
        lock(&pool.free).len()
    }

    #[test]
    fn buffers_have_their_size_and_begin_at_huge_pages() {
        let pool = BufferPool::new(PART);
        for size in [1, 4096, PART - 1, PART, PART + 1, 3 * PART] {
            let mut buffer = pool.get(size);
            let bytes = buffer.as_mut();
            assert_eq!(bytes.len(), size);
            assert!((bytes.as_ptr() as usize).is_multiple_of(HUGE_PAGE), "{size}");
            bytes.fill(1);
        }
    }

    #[test]
    fn buffers_are_used_again_the_last_one_first() {
        let pool = BufferPool::new(PART);
        let (mut first, mut second) = (pool.get(PART), pool.get(100));
        let (one, two) = (first.as_mut().as_ptr(), second.as_mut().as_ptr());
        assert_ne!(one, two);
        drop(first);
        drop(second);
        assert_eq!(pool.get(PART).as_mut().as_ptr(), two);
        assert_eq!(free(&pool), 2);

        // Larger than what is there: a new one, which then serves both.
        let mut large = pool.get(2 * PART);
        let three = large.as_mut().as_ptr();
        assert_eq!(free(&pool), 2);
        drop(large);
        assert_eq!(pool.get(2 * PART).as_mut().as_ptr(), three);
    }

    #[test]
    fn trimming_frees_what_is_not_used() {
        let pool = BufferPool::new(PART);
        let mut held = pool.get(PART);
        drop(pool.get(PART));
        assert!(pool.trim());
        assert!(!pool.trim());
        held.as_mut().fill(1);
        drop(held);
        assert_eq!(free(&pool), 1);
    }
}
