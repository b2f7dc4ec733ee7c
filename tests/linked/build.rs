//! The link: no startup code, no C library; what `_start` does not reach is left out. What is run in
//! QEMU begins where the machine does.
use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=run.x");
    for arg in ["--entry=_start", "--gc-sections", "-nostdlib"] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    let target = env::var("TARGET").expect("cargo says it");
    // Where the memory begins, and of Arm's boards the timer and the nanoseconds of its ticks.
    let (origin, timer, tick) = match &target {
        target if target.starts_with("riscv") => (0x8000_0000_u32, 0, 0),
        target if target.starts_with("thumbv8m") => (0x1000_0000, 0x5000_0000_u32, 50),
        _ => (0, 0x4000_0000, 40),
    };
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo says it");
    for arg in [
        "--entry=_begin".to_owned(),
        format!("-T{folder}/run.x"),
        format!("--defsym=_origin={origin:#x}"),
        format!("--defsym=_timer={timer:#x}"),
        format!("--defsym=_tick={tick}"),
    ] {
        println!("cargo:rustc-link-arg-bin=run_wss={arg}");
    }
}
