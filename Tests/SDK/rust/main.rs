#![no_std]
#![no_main]
extern crate alloc;
use alloc::{boxed::Box, collections::BTreeMap, format, string::String, vec::Vec};
use core::time::Duration;
use swiftlet_applet::{arguments, end, lines, now, println, random, regions, rpc, sleep, tree};
swiftlet_applet::main!(main);

trait Shape {
    fn area(&self) -> f64;
}
struct Square(f64);
impl Shape for Square {
    fn area(&self) -> f64 {
        self.0 * self.0
    }
}

#[repr(align(256))]
struct Wide([u8; 300]);

fn main() -> i32 {
    println!("arguments {:?}", arguments());
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines() {
        for word in line.split_whitespace() {
            *words.entry(word.into()).or_default() += 1;
        }
    }
    println!("{words:?}");
    let shape: Box<dyn Shape> = Box::new(Square(1.5));
    println!("area {:.3}, sum {}, wide {}", shape.area(), "0.1".parse::<f64>().unwrap() + 0.2, u128::MAX / 3);
    let wide = Box::new(Wide([7; 300]));
    println!("aligned {} {}", &*wide as *const Wide as usize % 256, wide.0[299]);
    let mut list: Vec<String> = (0..1000).map(|n| format!("{n}")).collect();
    list.sort();
    println!("sorted {} {}", list[1], list[999]);
    let begin = now();
    sleep(Duration::from_millis(5));
    println!("slept {}", now() - begin >= Duration::from_millis(5));
    let mut bytes = [0; 32];
    random(&mut bytes);
    println!("random {}", bytes.iter().any(|byte| *byte != 0));
    println!("rpc {}", rpc::call("RPC.Echo", "\"hello\""));
    println!("memory {}", tree::property("/memory", "reg").map_or(0, |bytes| bytes.len()));
    println!("regions {}", regions().count() > 3);
    if arguments().len() > 2 {
        let index = arguments().len();
        println!("{}", [1, 2][index]);
    }
    end(words.len() as i32)
}
