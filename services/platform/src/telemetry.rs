//! Logs: one JSON object a line, filtered by `RUST_LOG`.

use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For collectors.
    Json,
    /// For people at a terminal.
    Text,
}

/// Starts logging. `RUST_LOG` decides what is logged; without it, `info`, with the libraries' chatter turned down.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,rskafka=error,fred=error,mongodb=warn,hyper=warn"));
    // The audit trail is written whatever the log level is.
    let filter = match format!("{}=info", crate::audit::TARGET).parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true)).try_init(),
        LogFormat::Text => registry
            .with(
                fmt::layer()
                    .compact()
                    .with_target(false)
                    .with_ansi(std::io::stdout().is_terminal()),
            )
            .try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was already started");
    }
}
