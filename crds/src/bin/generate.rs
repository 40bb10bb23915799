//! Writes the custom resource definition and its reference to where they are kept: `make generate` runs it. With `compatible` it says what of
//! the definition would break somebody who uses a release: `make lint` runs that.

use crds::{compatible, definition};
use std::process::ExitCode;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some("compatible") {
        let breaks = compatible::with_releases(&definition::definition())?;
        for sentence in &breaks {
            eprintln!("{sentence}");
        }
        if breaks.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!(
            "The definition cannot follow a release: docs/api-versions.md says what may change, and how."
        );
        return Ok(ExitCode::FAILURE);
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    definition::write(&root)?;
    Ok(ExitCode::SUCCESS)
}
