//! Writes the custom resource definition to where it is kept. `make generate` runs it.

fn main() -> Result<(), crds::definition::DefinitionError> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    crds::definition::write(&root)
}
