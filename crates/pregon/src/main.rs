//! The binary: allocator, cryptography, command line. Everything else is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Pages that a burst needed go back to the system soon, by a thread of the allocator: an idle node stays small.
// SAFETY: jemalloc reads this symbol as a `const char *` when it starts; a slice's first word is its address, the text ends
// with a zero byte and is never freed, and nobody else defines the symbol.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        unreachable!("nothing ran before that could have installed another provider");
    }
    pregon::cli::main()
}
