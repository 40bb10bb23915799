//! Writes the custom resource definition and its reference to where they are kept. `make generate` runs it.

fn main() -> Result<(), crds::definition::DefinitionError> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    crds::definition::write(&root)
}
