//! Gives the shared library its SONAME, and keeps it mapped after dlclose: its threads may still run.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let major: u32 = env!("CARGO_PKG_VERSION_MAJOR")
        .parse()
        .expect("a version number");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libredkeep.so.{major}");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
