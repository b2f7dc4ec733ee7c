//! The link: no startup code, no C library; what `_start` does not reach is left out.
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for arg in ["--entry=_start", "--gc-sections", "-nostdlib"] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
}
