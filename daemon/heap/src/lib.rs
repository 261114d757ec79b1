//! The C library's heap, as a node agent wants it: little of it, and none kept that is free.
//!
//! A swarm of pods that starts or ends needs many times the memory that is left in use behind it, in small pieces. glibc gives back by
//! itself what is free at the end of its heap only; what lies between pieces in use stays, page by page, for good. With another C
//! library both functions do nothing.

#![cfg_attr(not(target_env = "gnu"), forbid(unsafe_code))]

/// Blocks of so many bytes are mapped by themselves, and so much is free at most at the end of the heap. Both are glibc's own figures; that they
/// are set keeps it from raising them whenever a larger block is freed.
#[cfg(target_env = "gnu")]
const THRESHOLD_BYTES: i32 = 128 * 1024;

/// Settles how the heap is kept. To be called before a second thread starts: what a thread got from a heap of its own stays there.
pub fn set_up() {
    #[cfg(target_env = "gnu")]
    {
        use nix::libc::{M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, mallopt};
        // A few threads that block, for moments: nothing is won by heaps of their own.
        for (parameter, value) in
            [(M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, THRESHOLD_BYTES), (M_TRIM_THRESHOLD, THRESHOLD_BYTES)]
        {
            #[expect(unsafe_code, reason = "a call of the C library")]
            // SAFETY: takes two numbers, and changes what later allocations do; a value that it does not take changes nothing.
            let _ = unsafe { mallopt(parameter, value) };
        }
    }
}

/// Gives the pages back in which nothing is in use. Allocations wait meanwhile.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "a call of the C library")]
        // SAFETY: takes a number of bytes to be left at the end of the heap; nothing in use is moved.
        let _ = unsafe { nix::libc::malloc_trim(0) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    fn anonymous_kib() -> u64 {
        let smaps = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = smaps.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    #[cfg_attr(not(target_env = "gnu"), ignore = "another heap")]
    fn what_is_free_between_pieces_in_use_is_given_back() {
        super::set_up();
        let mut pieces: Vec<Option<Box<[u8; 1024]>>> =
            (0..32 * 1024).map(|_| Some(Box::new([1; 1024]))).collect();
        // Every hundredth stays.
        pieces.iter_mut().enumerate().filter(|(i, _)| i % 100 != 0).for_each(|(_, piece)| *piece = None);
        let before = anonymous_kib();
        super::give_back();
        let after = anonymous_kib();
        assert!(before - after > 16 * 1024, "{before} and {after} KiB");
        assert!(pieces.iter().flatten().all(|piece| piece[1023] == 1));
    }
}
