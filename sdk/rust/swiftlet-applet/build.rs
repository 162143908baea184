//! Links the C library of the SDK that this crate belongs to: start-up code and the heap are there.

fn main() {
    let sdk = std::path::Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../..").canonicalize().unwrap();
    let arch = match std::env::var("CARGO_CFG_TARGET_ARCH").unwrap().as_str() {
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        other => panic!("an applet runs on aarch64 or riscv64, not on {other}"),
    };
    println!("cargo:rustc-link-search=native={}", sdk.join(arch).display());
    println!("cargo:rustc-link-lib=static=applet");
    println!("cargo:rerun-if-changed=build.rs");
}
