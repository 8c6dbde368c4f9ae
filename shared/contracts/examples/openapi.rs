//! Prints the document of the HTTP API: `cargo run -p contracts --example openapi > infra/openapi.yaml`.

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let yaml = serde_norway::to_string(&contracts::openapi::document())?;
    let note = "# Generated; do not edit: cargo run -p contracts --example openapi > infra/openapi.yaml";
    writeln!(std::io::stdout(), "{note}\n{yaml}")?;
    Ok(())
}
