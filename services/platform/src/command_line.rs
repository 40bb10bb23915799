//! What an executable says of its command line: completions for shells, and pages for `man`.

use clap::{Args, Command, ValueEnum};
use clap_complete::{generate, shells};
use std::io;

/// A shell that completes commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// Which page is wanted.
#[derive(Debug, Default, Args)]
pub struct Page {
    /// Of this subcommand; without one, of the executable.
    subcommand: Option<String>,
}

/// The script that completes the command in a shell.
pub fn completions(mut command: Command, shell: Shell) -> String {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    match shell {
        Shell::Bash => generate(shells::Bash, &mut command, name, &mut script),
        Shell::Zsh => generate(shells::Zsh, &mut command, name, &mut script),
        Shell::Fish => generate(shells::Fish, &mut command, name, &mut script),
    }
    String::from_utf8_lossy(&script).into_owned()
}

/// A page for `man`, in roff.
///
/// # Errors
/// When there is no such subcommand.
pub fn man(mut command: Command, page: &Page) -> io::Result<String> {
    // Before, subcommands do not know what they are called together with what stands before them.
    command.build();
    let wanted = match &page.subcommand {
        None => command,
        Some(name) => command.find_subcommand(name).cloned().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no subcommand {name}"))
        })?,
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(wanted).render(&mut roff)?;
    Ok(String::from_utf8_lossy(&roff).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let inner = Command::new("inner").about("Within.");
        Command::new("outer").subcommand(inner)
    }

    #[test]
    fn completions_and_pages_have_the_subcommands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(completions(command(), shell).contains("inner"), "{shell:?}");
        }
        let whole = Page::default();
        assert!(man(command(), &whole).unwrap().contains("inner"));
        let named = |name: &str| Page {
            subcommand: Some(name.to_owned()),
        };
        assert!(man(command(), &named("inner")).unwrap().contains("Within."));
        assert!(man(command(), &named("other")).is_err());
    }
}
