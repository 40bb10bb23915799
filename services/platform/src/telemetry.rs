//! Logs: one JSON object a line by the Elastic Common Schema, or text for people, filtered by `RUST_LOG`.
//!
//! The schema's own fields are named at the call sites (`http.request.method = …`), or given by [`field`]; everything else stands under
//! `quicksale`, where the schema has none that it could be taken for. docs/logs.md says how to read them.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    borrow::Cow,
    io::IsTerminal,
    panic,
};
use tracing_ecs::{AttributeMapper, ECSLayerBuilder, EVENT_SPAN_NAME};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// The version of the schema: <https://www.elastic.co/guide/en/ecs/8.11/ecs-field-reference.html>.
const ECS_VERSION: &str = "8.11.0";

/// The span that is around everything that is done for a request. Its fields are in each line that is logged meanwhile.
pub(crate) const REQUEST_SPAN: &str = "request";

/// The target of the log lines about panics.
const PANICS: &str = "panic";

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For collectors.
    Ecs {
        /// What the process is, such as `gateway`.
        service: &'static str,
    },
    /// For people at a terminal.
    Text,
}

/// Starts logging. `RUST_LOG` decides what is logged; without it, `info`, with the libraries' chatter turned down.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new("info,rskafka=error,fred=error,mongodb=warn,hyper=warn,opentelemetry=warn")
    });
    // The audit trail and panics are written whatever the log level is.
    let always = [
        format!("{}=info", crate::audit::TARGET),
        format!("{PANICS}=error"),
    ];
    let filter = always
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Ecs { service } => {
            log_panics();
            registry.with(ecs(service).stdout()).try_init()
        }
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

/// Writes lines of a service's process.
fn ecs(service: &str) -> ECSLayerBuilder {
    let of_process = serde_json::json!({
        "ecs.version": ECS_VERSION,
        "service.name": format!("quicksale-{service}"),
        "service.version": env!("CARGO_PKG_VERSION"),
        "service.node.name": instance(),
        "process.pid": std::process::id(),
    });
    ECSLayerBuilder::default()
        .with_extra_fields(of_process)
        // An object of plain values always is one.
        .unwrap_or_default()
        .with_attribute_mapper(Fields)
}

/// Which replica this is: the pod, as the operator tells the services and the chart tells the operator, or else the container.
pub fn instance() -> String {
    let told = ["INSTANCE", "POD_NAME", "HOSTNAME"]
        .map(std::env::var)
        .into_iter()
        .find_map(Result::ok);
    told.unwrap_or_else(|| "local".to_owned())
}

/// Gives fields their names.
struct Fields;

impl AttributeMapper for Fields {
    fn map(&self, span: &str, name: Cow<'static, str>) -> Cow<'static, str> {
        // Other spans are those of libraries, whose names are their own.
        if span != EVENT_SPAN_NAME && span != REQUEST_SPAN {
            return format!("quicksale.{}", name.replace('.', "_")).into();
        }
        field(name)
    }
}

/// The name that a field has in the schema, or beside it.
fn field(name: Cow<'static, str>) -> Cow<'static, str> {
    match &*name {
        "message" => name,
        "error" => "error.message".into(),
        "error_type" => "error.type".into(),
        "request_id" => "http.request.id".into(),
        "trace_id" => "trace.id".into(),
        // Of the schema already, or of a library that logs by the crate `log`.
        dotted if dotted.contains('.') => name,
        own => format!("quicksale.{own}").into(),
    }
}

/// A panic is an event as well: in several lines of text it would be as many events of nothing.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let what = info.payload_as_str().unwrap_or("something that is no text");
        let place = info.location().map(ToString::to_string);
        let trace = Backtrace::capture();
        let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
        tracing::error!(
            target: PANICS,
            place,
            error.message = what,
            error_type = "panic",
            error.stack_trace = trace,
            "a task has panicked"
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    /// Where lines are written to.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_an_object_of_the_schema_with_the_rest_under_a_name_of_its_own() {
        let lines = Lines::default();
        let written = lines.clone();
        let subscriber =
            tracing_subscriber::registry().with(ecs("gateway").build_with_writer(move || written.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let _within = tracing::info_span!(REQUEST_SPAN, request_id = "r-1", trace_id = "t-1").entered();
            tracing::warn!(
                error = "no primary",
                orders = 3,
                http.request.method = "GET",
                "cannot accept\norders"
            );
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        for (pointer, value) in [
            ("/message", json!("cannot accept\norders")),
            ("/ecs/version", json!("8.11.0")),
            ("/log/level", json!("WARN")),
            ("/log/logger", json!(module_path!())),
            ("/service/name", json!("quicksale-gateway")),
            ("/error/message", json!("no primary")),
            ("/http/request/id", json!("r-1")),
            ("/trace/id", json!("t-1")),
            ("/http/request/method", json!("GET")),
            ("/quicksale/orders", json!(3)),
        ] {
            assert_eq!(line.pointer(pointer), Some(&value), "{pointer} in {line}");
        }
        let at = line["@timestamp"].as_str().unwrap();
        assert!(at.parse::<jiff::Timestamp>().is_ok(), "{at}");
    }
}
