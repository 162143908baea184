//! The applet's flattened device tree.

use alloc::ffi::CString;
use core::ffi::c_char;
use core::sync::atomic::{AtomicPtr, Ordering};

static TREE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());

extern "C" {
    fn tree_property(tree: *const u8, path: *const c_char, name: *const c_char, length: *mut usize) -> *const u8;
}

/// # Safety
/// `tree` is the address that the monitor has passed, or null.
#[doc(hidden)]
pub unsafe fn set(tree: *const u8) {
    TREE.store(tree as *mut u8, Ordering::Relaxed);
}

/// A property, by the path of its node without unit addresses: `property("/memory", "reg")`. Numbers are big-endian.
pub fn property(path: &str, name: &str) -> Option<&'static [u8]> {
    let (path, name) = (CString::new(path).ok()?, CString::new(name).ok()?);
    let mut length = 0;
    let value = unsafe { tree_property(TREE.load(Ordering::Relaxed), path.as_ptr(), name.as_ptr(), &mut length) };
    // The tree stays where it is, and nothing changes it.
    (!value.is_null()).then(|| unsafe { core::slice::from_raw_parts(value, length) })
}
