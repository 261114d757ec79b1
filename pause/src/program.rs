//! The process that holds a pod's namespaces open: it waits, reaps what is left to it, and ends when told.
//!
//! Signals are not handled but waited for: blocked ones are kept for the waiter even by PID 1, whom the kernel shields
//! from signals that it does not handle.
#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};

const SIGINT: usize = 2;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;
const SIG_BLOCK: usize = 0;
const WNOHANG: usize = 1;
/// Of a signal set, in bytes, as the kernel takes it.
const SET_SIZE: usize = 8;

#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const WRITE: usize = 1;
    pub(super) const RT_SIGPROCMASK: usize = 14;
    pub(super) const GETPID: usize = 39;
    pub(super) const EXIT: usize = 60;
    pub(super) const WAIT4: usize = 61;
    pub(super) const RT_SIGTIMEDWAIT: usize = 128;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const WRITE: usize = 64;
    pub(super) const EXIT: usize = 93;
    pub(super) const RT_SIGPROCMASK: usize = 135;
    pub(super) const RT_SIGTIMEDWAIT: usize = 137;
    pub(super) const GETPID: usize = 172;
    pub(super) const WAIT4: usize = 260;
}

/// One system call; the kernel's answer, negative for an error.
fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let answer: isize;
    // SAFETY: the callers pass numbers and pointers to memory of this program that outlives the call; the kernel changes
    // no register beside those that are named.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
        #[cfg(target_arch = "aarch64")]
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => answer,
            in("x1") b, in("x2") c, in("x3") d,
            options(nostack),
        );
    }
    answer
}

fn write(descriptor: usize, text: &str) {
    call(number::WRITE, descriptor, text.as_ptr() as usize, text.len(), 0);
}

fn exit(code: usize) -> ! {
    loop {
        call(number::EXIT, code, 0, 0, 0);
    }
}

/// The kernel puts the number of arguments and then their addresses where the stack begins.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("mov rdi, rsp", "and rsp, -16", "call {run}", run = sym run);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x0, sp", "bl {run}", run = sym run);
}

extern "C" fn run(stack: *const usize) -> ! {
    // SAFETY: the kernel has put argc there, and behind it as many addresses of strings that end with a zero byte.
    let wants_version = unsafe { *stack > 1 && is_version_flag(*stack.add(2) as *const u8) };
    if wants_version {
        write(1, concat!("pause ", env!("PAUSE_VERSION"), "\n"));
        exit(0);
    }
    if call(number::GETPID, 0, 0, 0, 0) != 1 {
        write(2, "Warning: pause should be the first process\n");
    }
    let set: u64 = bit(SIGINT) | bit(SIGTERM) | bit(SIGCHLD);
    let set_at = core::ptr::from_ref(&set) as usize;
    if call(number::RT_SIGPROCMASK, SIG_BLOCK, set_at, 0, SET_SIZE) < 0 {
        exit(1);
    }
    loop {
        match call(number::RT_SIGTIMEDWAIT, set_at, 0, 0, SET_SIZE) {
            signal if signal == SIGINT as isize || signal == SIGTERM as isize => {
                write(2, "Shutting down, got signal\n");
                exit(0);
            }
            // Also after an interruption: to look once more does no harm.
            _ => while call(number::WAIT4, usize::MAX, 0, WNOHANG, 0) > 0 {},
        }
    }
}

fn bit(signal: usize) -> u64 {
    1 << (signal - 1)
}

/// Whether the text is `-v`.
///
/// # Safety
/// `text` points to bytes that end with zero.
unsafe fn is_version_flag(text: *const u8) -> bool {
    // SAFETY: each byte is read only where the one before was not the last.
    unsafe { *text == b'-' && *text.add(1) == b'v' && *text.add(2) == 0 }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(2)
}
