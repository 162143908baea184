//! Applets, bare-metal programs that Swiftlet runs as KVM guests, in Rust without the standard library.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! use swiftlet_applet::println;
//! swiftlet_applet::main!(main);
//!
//! fn main() -> i32 {
//!     println!("hello, world");
//!     0
//! }
//! ```
//!
//! Start-up code and the heap are those of the C library, `libapplet.a`. The types of `alloc` (`String`, `Vec`, `Box`) work.
#![no_std]

extern crate alloc;

mod call;
mod console;
mod heap;
pub mod rpc;
pub mod tree;

use alloc::{string::String, vec, vec::Vec};
use core::time::Duration;

pub use call::{call, number, regions, Error, Region, RegionUse, Request};
pub use console::{lines, print_arguments, read, write, Lines};

extern "C" {
    fn nanotime() -> i64;
    fn exit(status: i32) -> !;
}

/// Makes a function `fn() -> i32` the one that the applet begins with; its result is the exit status.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        #[export_name = "main"]
        extern "C" fn applet_main(tree: *const u8) -> i32 {
            unsafe { $crate::tree::set(tree) };
            let main: fn() -> i32 = $main;
            main()
        }
    };
}

/// Writes to the console, with one call for up to 512 bytes.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::print_arguments(format_args!($($argument)*)) };
}

/// Writes a line to the console, with one call for up to 512 bytes.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::print_arguments(format_args!("{}\n", format_args!($($argument)*))) };
}

/// The arguments; the first is the applet's name. What is not UTF-8 is replaced.
pub fn arguments() -> Vec<String> {
    let size = unsafe { call(number::ARGUMENTS, 0, 0, 0) } as usize;
    let mut bytes = vec![0u8; size];
    unsafe { call(number::ARGUMENTS, bytes.as_mut_ptr() as u64, bytes.len() as u64, 0) };
    let mut list: Vec<String> = bytes.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned()).collect();
    list.pop(); // Each argument ends with a zero byte.
    list
}

/// Ends the applet.
pub fn end(status: i32) -> ! {
    unsafe { exit(status) }
}

/// A clock for durations; read without a call if the applet may read the counter.
pub fn now() -> Duration {
    Duration::from_nanos(unsafe { nanotime() } as u64)
}

/// The time of day, since 1970-01-01 00:00 UTC. It never goes back while the applet runs.
pub fn time_of_day() -> Duration {
    Duration::from_nanos(unsafe { call(number::NANOTIME, 0, 0, 0) } as u64)
}

/// Sleeps at least that long.
pub fn sleep(duration: Duration) {
    unsafe { call(number::SLEEP, duration.as_nanos().min(i64::MAX as u128) as u64, 0, 0) };
}

/// Lets other contexts run.
pub fn yield_now() {
    unsafe { call(number::YIELD, 0, 0, 0) };
}

/// Fills the buffer with random bytes of the host's kernel.
pub fn random(bytes: &mut [u8]) {
    unsafe { call(number::GETRANDOM, bytes.as_mut_ptr() as u64, bytes.len() as u64, 0) };
}

/// In a secure peer: answers the last request and waits for the next.
pub fn serve(answer: u64) -> Result<Request, Error> {
    let mut request = Request::default();
    Error::check(unsafe { call(number::SERVE, answer, &mut request as *mut Request as u64, 0) })?;
    Ok(request)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    println!("{info}");
    end(134) // what a shell shows for SIGABRT
}
