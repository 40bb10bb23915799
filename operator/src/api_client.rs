//! The client of the API server.

use hyper_util::{
    client::legacy::{Builder, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Config,
    client::{Body, ClientBuilder, ConfigExt, retry::RetryPolicy},
};
use tower::{BoxError, Service, ServiceBuilder, retry::RetryLayer};

/// What a connection reads ahead, in bytes. A buffer grows with the first list and never shrinks, and there is a connection for each watch:
/// left to itself (400 KB) what they keep is more than all that is known of a hundred sales.
const READ_AHEAD: usize = 32 * 1_024;

/// A client as kube makes one, but for what its connections keep, and for the command line's proxies, which no operator has.
///
/// # Errors
/// When certificates or credentials of the configuration cannot be used.
pub fn builder(
    config: &Config,
) -> kube::Result<
    ClientBuilder<
        impl Service<
            http::Request<Body>,
            Response = http::Response<hyper::body::Incoming>,
            Error = BoxError,
            Future: Send,
        > + Send
        + use<>,
    >,
> {
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    let mut connector =
        hyper_timeout::TimeoutConnector::new(config.rustls_https_connector_with_connector(plain)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let client = Builder::new(TokioExecutor::new())
        .http1_max_buf_size(READ_AHEAD)
        .build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .map_err(BoxError::from)
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(ClientBuilder::new(service, &config.default_namespace))
}
