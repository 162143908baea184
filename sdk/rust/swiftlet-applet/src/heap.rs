//! The C library's heap as the global allocator.

use core::alloc::{GlobalAlloc, Layout};

extern "C" {
    fn malloc(size: usize) -> *mut u8;
    fn realloc(pointer: *mut u8, size: usize) -> *mut u8;
    fn posix_memalign(result: *mut *mut u8, alignment: usize, size: usize) -> i32;
    fn free(pointer: *mut u8);
}

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// What malloc aligns to.
const GRAIN: usize = 16;

unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= GRAIN {
            return malloc(layout.size());
        }
        let mut pointer = core::ptr::null_mut();
        if posix_memalign(&mut pointer, layout.align(), layout.size()) == 0 { pointer } else { core::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, _: Layout) {
        free(pointer)
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= GRAIN {
            return realloc(pointer, size);
        }
        let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
        if !moved.is_null() {
            core::ptr::copy_nonoverlapping(pointer, moved, layout.size().min(size));
            self.dealloc(pointer, layout);
        }
        moved
    }
}
