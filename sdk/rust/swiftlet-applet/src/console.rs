//! Standard input and output.

use crate::call::{call, number, Error};
use alloc::{string::String, vec::Vec};
use core::fmt::{self, Write};

/// Writes all bytes.
pub fn write(bytes: &[u8]) -> Result<(), Error> {
    Error::check(unsafe { call(number::WRITE, bytes.as_ptr() as u64, bytes.len() as u64, 0) }).map(|_| ())
}

/// Reads what is there of standard input, and waits for a byte if there is none. Returns the number of bytes, 0 at the end.
pub fn read(bytes: &mut [u8]) -> Result<usize, Error> {
    Error::check(unsafe { call(number::READ, bytes.as_mut_ptr() as u64, bytes.len() as u64, 0) }).map(|count| count as usize)
}

/// Output is collected here, so that a line needs one call.
struct Buffer {
    bytes: [u8; 512],
    length: usize,
}

impl Buffer {
    fn flush(&mut self) {
        // There is no other place to report an error.
        let _ = write(&self.bytes[..self.length]);
        self.length = 0;
    }
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.as_bytes().chunks(self.bytes.len()) {
            if piece.len() > self.bytes.len() - self.length {
                self.flush();
            }
            self.bytes[self.length..self.length + piece.len()].copy_from_slice(piece);
            self.length += piece.len();
        }
        Ok(())
    }
}

#[doc(hidden)]
pub fn print_arguments(arguments: fmt::Arguments) {
    let mut buffer = Buffer { bytes: [0; 512], length: 0 };
    let _ = buffer.write_fmt(arguments);
    if buffer.length > 0 {
        buffer.flush();
    }
}

/// The lines of standard input, without their newlines. What is not UTF-8 is replaced; an error ends them.
pub fn lines() -> Lines {
    Lines { bytes: Vec::new(), is_ended: false }
}

pub struct Lines {
    bytes: Vec<u8>,
    is_ended: bool,
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.is_ended {
                let rest = core::mem::take(&mut self.bytes);
                return (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned());
            }
            let mut piece = [0; 256];
            let count = read(&mut piece).unwrap_or(0);
            self.is_ended = count == 0;
            self.bytes.extend_from_slice(&piece[..count]);
        }
    }
}
