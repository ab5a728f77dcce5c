//! The command line of parprobe: all of it is in the library, where it can be fed without a process.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main()
}
