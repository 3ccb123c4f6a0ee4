//! The C test of sequences of calls, under a name of its own: libFuzzer has one function called by its own name.

fn main() {
    println!("cargo:rerun-if-changed=../tests/c");
    println!("cargo:rerun-if-changed=../include");
    cc::Build::new()
        .file("../tests/c/test_sequences.c")
        .include("../include")
        .define("_GNU_SOURCE", None)
        .define("RK_LIBFUZZER", None)
        .define("LLVMFuzzerTestOneInput", "rk_sequence")
        .flag("-fsanitize=address")
        .warnings(false)
        .compile("sequences");
}
