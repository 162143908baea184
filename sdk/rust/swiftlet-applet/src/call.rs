//! The calls as `applet_abi.h` defines them.

use core::arch::asm;

/// The numbers of calls.
pub mod number {
    pub const EXIT: u64 = 0;
    pub const PUT_CHARACTER: u64 = 1;
    pub const NANOTIME: u64 = 2;
    pub const GETRANDOM: u64 = 3;
    pub const RPC_REQUEST: u64 = 4;
    pub const RPC_RESPONSE: u64 = 5;
    pub const WRITE: u64 = 0x100;
    pub const READ: u64 = 0x101;
    pub const SLEEP: u64 = 0x102;
    pub const YIELD: u64 = 0x103;
    pub const REGION: u64 = 0x104;
    pub const ARGUMENTS: u64 = 0x105;
    pub const COUNTER: u64 = 0x106;
    pub const SERVE: u64 = 0x108;
    pub const EXIT_STATUS: u64 = 0x109;
    pub const MONOTONIC: u64 = 0x10a;
}

/// Makes a call.
///
/// # Safety
/// The arguments must be what the call requires: an address must be that of memory that it may read or write.
#[inline(always)]
pub unsafe fn call(number: u64, a: u64, b: u64, c: u64) -> i64 {
    let result: i64;
    #[cfg(target_arch = "aarch64")]
    asm!("svc #0", inlateout("x0") number => result, in("x1") a, in("x2") b, in("x3") c, options(nostack));
    #[cfg(target_arch = "riscv64")]
    asm!("ecall", inlateout("a0") number => result, in("a1") a, in("a2") b, in("a3") c, options(nostack));
    result
}

/// An errno value that a call has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub i32);

impl Error {
    pub(crate) fn check(result: i64) -> Result<i64, Error> {
        if result < 0 { Err(Error(-result as i32)) } else { Ok(result) }
    }
}

/// A request to a secure peer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub number: u64,
    pub argument: u64,
}

/// A range of the applet's memory with one kind of access.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    pub start: u64,
    pub length: u64,
    /// Bits: 1 to read, 2 to write, 4 to execute.
    pub access: u64,
    pub usage: u64,
}

/// The values of `Region::usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum RegionUse {
    Image = 0,
    Heap = 1,
    Stack = 2,
    Added = 3,
    DeviceTree = 4,
}

/// The regions of the applet's memory, by ascending address.
pub fn regions() -> impl Iterator<Item = Region> {
    (0..).map_while(|index| {
        let mut region = Region::default();
        let result = unsafe { call(number::REGION, index, &mut region as *mut Region as u64, 0) };
        (result == 0).then_some(region)
    })
}
