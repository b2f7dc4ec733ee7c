#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod body;
mod dial;
mod proxy;
mod redirect;
mod url;

pub use body::{Body, BodyError, Framing};
pub use dial::{Dial, DialPlan};
pub use http;
pub use proxy::{Proxy, ProxyError, SocksReply, Tunnel, TunnelError};
pub use redirect::{RedirectError, RedirectPolicy, Redirects, is_credential};
pub use url::{Credentials, Host, Url, UrlError};
