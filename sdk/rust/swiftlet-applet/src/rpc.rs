//! JSON-RPC 1.0 with the monitor.

use crate::call::{call as applet_call, number};
use alloc::{format, string::String, vec::Vec};

/// Calls a method with one parameter, which is JSON, and waits for the response, which is a line of JSON. It is empty if the monitor
/// reports an error instead of a response.
pub fn call(method: &str, parameter: &str) -> String {
    let request = format!("{{\"method\":\"{method}\",\"params\":[{parameter}],\"id\":0}}\n");
    unsafe { applet_call(number::RPC_REQUEST, request.as_ptr() as u64, request.len() as u64, 0) };
    let mut response = Vec::new();
    while response.last() != Some(&b'\n') {
        let mut piece = [0u8; 256];
        let count = unsafe { applet_call(number::RPC_RESPONSE, piece.as_mut_ptr() as u64, piece.len() as u64, 0) };
        if count < 0 {
            return String::new();
        }
        if count == 0 {
            crate::yield_now();
        }
        response.extend_from_slice(&piece[..count as usize]);
    }
    response.pop();
    String::from_utf8_lossy(&response).into_owned()
}
