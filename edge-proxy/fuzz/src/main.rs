//! Built by `make fuzz`, the fuzzer; built in any other way, a command that checks the inputs in
//! the files that it is given.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_rewrite::check(input));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    std::env::args_os().skip(1).try_for_each(|file| std::fs::read(file).map(|input| fuzz_rewrite::check(&input)))
}
