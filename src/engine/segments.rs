//! Streams of unknown length, cut where their content says so.
//!
//! The format wants a file's size before its content, and one file of size 0 would be restored empty by stock restic.
//! So a stream becomes numbered files, each of known size. Cutting by content keeps later cuts where they were when
//! something is inserted early on, so that the rest is stored once.

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::job::Job;
use super::source::fill;

/// The longest segment, in bytes.
pub(super) const LONGEST: usize = 32 << 20;
/// A cut is looked for from here on, in bytes.
const SHORTEST: usize = LONGEST / 4 * 3;
/// One place in 2^20 is a cut: in the 8 MiB that are looked through, all but one in 3,000 buffers have one.
const CUT: u64 = ((1 << 20) - 1) << 44;
/// Segments in memory at once. One would deadlock, as the archiver reads ahead; two are 15 % slower than three.
const IN_FLIGHT: usize = 3;

/// Splits `reader`; the concatenation of all segments is the stream. An empty stream is one empty segment.
pub(super) struct Segments<R> {
    reader: R,
    carried: Vec<u8>,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Fresh,
    Running,
    Over,
}

impl<R: Read> Segments<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, carried: Vec::new(), state: State::Fresh }
    }

    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.state == State::Over {
            return Ok(None);
        }
        let mut segment = std::mem::take(&mut self.carried);
        // Grows with what comes, so that a small dump takes little.
        while segment.len() < LONGEST {
            let start = segment.len();
            let more = start.max(256 << 10).min(LONGEST - start);
            segment.resize(start + more, 0);
            let read = fill(&mut self.reader, &mut segment[start..])?;
            segment.truncate(start + read);
            if read < more {
                let is_trailing_nothing = segment.is_empty() && self.state == State::Running;
                self.state = State::Over;
                return Ok((!is_trailing_nothing).then_some(segment));
            }
        }
        self.state = State::Running;
        let cut = cut(&segment);
        self.carried = segment[cut..].to_vec();
        segment.truncate(cut);
        Ok(Some(segment))
    }
}

/// Where to end the segment that begins with this full buffer.
fn cut(buffer: &[u8]) -> usize {
    let mut hash = 0_u64;
    // The hash knows the last 64 bytes only.
    for (at, byte) in buffer.iter().enumerate().skip(SHORTEST - 64) {
        hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
        if at >= SHORTEST && hash & CUT == 0 {
            return at + 1;
        }
    }
    buffer.len()
}

/// Pseudo-random, and never to change: other numbers cut elsewhere, and every dump would be stored anew once.
const GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let mut state = 0x5354_494c_4c50_4f49_u64;
    let mut n = 0;
    while n < table.len() {
        // SplitMix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[n] = mixed ^ (mixed >> 31);
        n += 1;
    }
    table
};

/// Bounds the memory of segments that are cut and not yet stored.
#[derive(Debug, Clone)]
pub(super) struct Permits(Arc<(Mutex<usize>, Condvar)>);

impl Permits {
    pub fn new() -> Self {
        Self(Arc::new((Mutex::new(IN_FLIGHT), Condvar::new())))
    }

    /// `None` when the job went bad meanwhile.
    pub fn acquire(&self, job: &Job) -> Option<Permit> {
        let (free, freed) = &*self.0;
        let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if job.is_bad() {
                return None;
            }
            if *free > 0 {
                *free -= 1;
                return Some(Permit(self.clone()));
            }
            // Looks up now and then: whoever makes a job bad doesn't know who waits.
            free = freed.wait_timeout(free, Duration::from_millis(100)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

pub(super) struct Permit(Permits);

impl Drop for Permit {
    fn drop(&mut self) {
        let (free, freed) = &*self.0.0;
        *free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        std::iter::repeat_with(next).flatten().take(length).collect()
    }

    fn all(stream: &[u8]) -> Vec<Vec<u8>> {
        let mut segments = Segments::new(stream);
        std::iter::from_fn(|| segments.next().expect("memory can be read")).collect()
    }

    #[test]
    fn an_empty_stream_is_one_empty_segment() {
        assert_eq!(all(b""), [b""]);
    }

    #[test]
    fn the_segments_together_are_the_stream() {
        for length in [1, 4096, LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST + 17] {
            let stream = noise(length, 7);
            let segments = all(&stream);
            assert!(segments.concat() == stream, "{length}");
            assert!(segments.iter().all(|segment| segment.len() <= LONGEST && !segment.is_empty()), "{length}");
        }
    }

    #[test]
    fn after_an_insertion_the_cuts_fall_where_they_fell() {
        let stream = noise(3 * LONGEST, 11);
        let longer = [noise(1024, 3), stream.clone()].concat();
        let (before, after) = (all(&stream), all(&longer));
        assert!(before.len() > 3 && before.len() == after.len());
        assert!(before[1..] == after[1..]);
    }

    #[test]
    fn a_reader_that_gives_little_at_a_time_is_cut_alike() {
        struct Drip<'a>(&'a [u8]);
        impl Read for Drip<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = buffer.len().min(4093);
                self.0.read(&mut buffer[..length])
            }
        }
        let stream = noise(LONGEST + 5000, 5);
        let mut segments = Segments::new(Drip(&stream));
        let dripped: Vec<_> = std::iter::from_fn(|| segments.next().expect("memory can be read")).collect();
        assert!(dripped == all(&stream));
    }

    #[test]
    fn a_waiting_producer_ends_with_its_job() {
        let (job, permits) = (Job::reading(), Permits::new());
        let held: Vec<_> = (0..IN_FLIGHT).map(|_| permits.acquire(&job).expect("free")).collect();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| permits.acquire(&job).is_none());
            job.cancel();
            assert!(waiting.join().expect("no panic"));
        });
        drop(held);
        assert!(permits.acquire(&Job::reading()).is_some());
    }
}
