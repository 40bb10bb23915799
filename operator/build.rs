//! Has the linker of a release fold functions of the same code into one (mold and lld can): nearly all of the executable is in memory once it
//! runs, and hundreds of sales leave it little room beside that (bench/RESULTS.md).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}
