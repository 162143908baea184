#![no_std]
#![no_main]

extern crate alloc;

use swiftlet_applet::{arguments, println};

swiftlet_applet::main!(main);

fn main() -> i32 {
    let arguments = arguments();
    println!("hello, {}", arguments.get(1).map_or("world", |name| name.as_str()));
    0
}
