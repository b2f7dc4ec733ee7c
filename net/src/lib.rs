#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod authority;
mod body;
mod dial;
mod proxy;
mod redirect;
#[cfg(feature = "std")]
mod retry_after;
mod url;
mod url_error;

pub use authority::{Credentials, Host};
pub use body::{Body, BodyError, Framing};
pub use dial::{Dial, DialPlan};
pub use http;
#[cfg(feature = "std")]
pub use proxy::ProxyChoice;
pub use proxy::{Proxy, ProxyError, ReasonPhrase, SocksReply, Tunnel, TunnelError};
pub use redirect::{RedirectError, RedirectPolicy, Redirects};
#[cfg(feature = "std")]
pub use retry_after::retry_after;
pub use url::Url;
pub use url_error::UrlError;
