//! Prints `docs/stories.md`: `cargo run -q -p tests --example stories > docs/stories.md`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/pipeline/src");
    std::io::Write::write_all(&mut std::io::stdout(), tests::stories::document(&sources).as_bytes())
}
