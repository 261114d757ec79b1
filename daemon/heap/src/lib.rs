//! The process's memory, as a node agent wants it: a small heap, of which none is kept that is free, and no code that does not run.
//!
//! A swarm of pods that starts or ends needs many times the memory that is left in use behind it, in small pieces. glibc gives back by
//! itself what is free at the end of its heap only; what lies between pieces in use stays, page by page, for good. With another C
//! library nothing here does anything.

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

/// Takes the program's code and constants out of the process. What runs next comes back from the page cache, as much around it as the
/// kernel maps at once (64 KiB): some hundred faults, and what the start or a rare request has needed stays away. The kernel would do that
/// only when it is short of memory, and the later the more of it counts as in use.
pub fn unmap_code() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "a call of the C library")]
        // SAFETY: the function takes what it is called with, and nothing else.
        let _ = unsafe { nix::libc::dl_iterate_phdr(Some(unmap), std::ptr::null_mut()) };
    }
}

/// Unmaps what is only read of the first program that the C library tells of, which is the main one, and asks for no more.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "called by the C library, with what only it knows")]
unsafe extern "C" fn unmap(
    info: *mut nix::libc::dl_phdr_info,
    _size: usize,
    _data: *mut std::ffi::c_void,
) -> std::ffi::c_int {
    use nix::libc::{_SC_PAGESIZE, MADV_DONTNEED, PF_W, PT_LOAD, madvise, sysconf};
    // SAFETY: takes a number and gives one.
    let Ok(page) = usize::try_from(unsafe { sysconf(_SC_PAGESIZE) }) else { return 1 };
    // SAFETY: both are valid for the time of the call.
    let (program, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr as usize, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
    };
    for header in headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_flags & PF_W == 0) {
        let at = program + header.p_vaddr as usize;
        // The loader maps whole pages.
        let begin = at - at % page;
        let length = at + header.p_memsz as usize - begin;
        // SAFETY: a private mapping of the program's file that nobody can write to, so that its pages come back as they were, also
        // under code that runs in them; only what a debugger has put there goes. Where it fails everything stays.
        let _ = unsafe { madvise(begin as *mut std::ffi::c_void, length, MADV_DONTNEED) };
    }
    1
}

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    #[cfg_attr(not(target_env = "gnu"), ignore = "another library")]
    fn code_goes_out_of_the_process_and_runs_on() {
        let mapped_kib = || -> u64 {
            let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
            let mut is_code = false;
            let mut kib = 0;
            for line in smaps.lines() {
                if line.contains(" r-xp ") {
                    is_code = line.contains(std::env::current_exe().unwrap().to_str().unwrap());
                } else if is_code && let Some(rss) = line.strip_prefix("Rss:") {
                    kib += rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
                    is_code = false;
                }
            }
            kib
        };
        let before = mapped_kib();
        super::unmap_code();
        let after = mapped_kib();
        assert!(after < before, "{before} and {after} KiB");
    }

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
