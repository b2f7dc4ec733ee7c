//! The link: the board's memory, the startup code's script and that of the logs. And the time.
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs};

fn main() {
    let memory = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("riscv32") => "virt.x",
        _ => "lm3s6965.x",
    };
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // An earlier build's time will do: it is a lower bound.
    let built = env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("it is after 1970").as_secs().to_string()
    });
    println!("cargo:rustc-env=MOTEWS_BUILT={built}");
    println!("cargo:rerun-if-changed={memory}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names it"));
    fs::copy(memory, out.join("memory.x")).expect("cargo's folder is writable");
    println!("cargo:rustc-link-search={}", out.display());
    for script in ["-Tlink.x", "-Tdefmt.x"] {
        println!("cargo:rustc-link-arg-bins={script}");
    }
}
