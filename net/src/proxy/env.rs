//! The proxy that the environment names, as curl reads it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::authority::Host;
use crate::url::Url;

/// The value of the variable that names the proxy for `url`.
pub(super) fn proxy_for<T: AsRef<str>>(
    url: &Url,
    variable: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let first = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| variable(name));
        values.find(|value| !value.as_ref().is_empty())
    };
    if let Some(list) = first(&["no_proxy", "NO_PROXY"])
        && is_excepted(url.host(), list.as_ref())
    {
        return None;
    }
    // Not HTTP_PROXY: a server gives its CGI programs the client's `Proxy` header by that name.
    let names: &[&str] = match url.is_secure() {
        true => &["wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY"],
        false => &["ws_proxy", "WS_PROXY", "http_proxy"],
    };
    first(names).or_else(|| first(&["all_proxy", "ALL_PROXY"]))
}

/// Returns true if `host` is in the list of hosts that are reached without a proxy.
fn is_excepted(host: &Host, list: &str) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let mut entries = list
        .split([',', ' ', '\t'])
        .filter(|entry| !entry.is_empty());
    match host {
        Host::Name(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            entries.any(|entry| is_below(name, entry))
        }
        Host::V4(address) => entries.any(|entry| is_in(IpAddr::V4(*address), entry)),
        Host::V6(address, _) => entries.any(|entry| is_in(IpAddr::V6(*address), entry)),
    }
}

/// Returns true if `name` is the domain that the entry names, or below it.
fn is_below(name: &str, entry: &str) -> bool {
    let domain = entry.strip_suffix('.').unwrap_or(entry);
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    let Some(start) = name.len().checked_sub(domain.len()) else {
        return false;
    };
    let tail = name.get(start..);
    let is_tail = tail.is_some_and(|tail| tail.eq_ignore_ascii_case(domain));
    let before = name.get(..start).unwrap_or_default();
    !domain.is_empty() && is_tail && (before.is_empty() || before.ends_with('.'))
}

/// Returns true if the entry is this address, or a network that has it.
fn is_in(address: IpAddr, entry: &str) -> bool {
    let (network, bits) = match entry.split_once('/') {
        Some((network, bits)) => match bits.parse() {
            Ok(bits) => (network, Some(bits)),
            Err(_) => return false,
        },
        None => (entry, None),
    };
    // How many of the leading bits differ, of how many.
    match address {
        IpAddr::V4(address) => {
            let Ok(network) = network.parse::<Ipv4Addr>() else {
                return false;
            };
            let equal = (address.to_bits() ^ network.to_bits()).leading_zeros();
            matches!(bits.unwrap_or(32), bits @ 0..=32 if bits <= equal)
        }
        IpAddr::V6(address) => {
            let bare = network.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
            let Ok(network) = bare.unwrap_or(network).parse::<Ipv6Addr>() else {
                return false;
            };
            let equal = (address.to_bits() ^ network.to_bits()).leading_zeros();
            matches!(bits.unwrap_or(128), bits @ 0..=128 if bits <= equal)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(url: &str, environment: &[(&str, &'static str)]) -> Option<&'static str> {
        let url = Url::parse(url).expect(url);
        proxy_for(&url, |name| {
            let mut found = environment.iter().filter(|(known, _)| *known == name);
            found.next().map(|(_, value)| *value)
        })
    }

    #[test]
    fn variable_of_the_scheme_goes_first() {
        let all = [
            ("wss_proxy", "1"),
            ("WSS_PROXY", "2"),
            ("https_proxy", "3"),
            ("HTTPS_PROXY", "4"),
            ("all_proxy", "5"),
            ("ALL_PROXY", "6"),
        ];
        for from in 0..all.len() {
            let rest = all.get(from..).expect("in range");
            assert_eq!(
                choose("wss://h/", rest),
                rest.first().map(|(_, value)| *value)
            );
        }
        let all = [
            ("ws_proxy", "1"),
            ("WS_PROXY", "2"),
            ("http_proxy", "3"),
            ("all_proxy", "4"),
            ("ALL_PROXY", "5"),
        ];
        for from in 0..all.len() {
            let rest = all.get(from..).expect("in range");
            assert_eq!(
                choose("ws://h/", rest),
                rest.first().map(|(_, value)| *value)
            );
        }
        assert_eq!(choose("wss://h/", &[("http_proxy", "1")]), None);
        assert_eq!(choose("ws://h/", &[("https_proxy", "1")]), None);
        // httpoxy
        assert_eq!(choose("ws://h/", &[("HTTP_PROXY", "1")]), None);
        // Empty is as good as unset.
        let empty = [("https_proxy", ""), ("all_proxy", "1")];
        assert_eq!(choose("wss://h/", &empty), Some("1"));
    }

    #[test]
    fn host_in_no_proxy_has_none() {
        let cases = [
            ("ws://example.com/", "*", true),
            ("ws://example.com/", " * ", true),
            ("ws://example.com/", "a,*", false),
            ("ws://example.com/", "example.com", true),
            ("ws://example.com./", "EXAMPLE.com", true),
            ("ws://example.com/", ".example.com.", true),
            ("ws://www.example.com/", "a, example.com", true),
            ("ws://www.example.com/", "a b\t.example.com", true),
            ("ws://nonexample.com/", "example.com", false),
            ("ws://example.com/", "www.example.com", false),
            ("ws://example.com/", ",,", false),
            ("ws://example.com/", ".", false),
            ("ws://example.com/", "", false),
            ("ws://10.1.2.3/", "10.1.2.3", true),
            ("ws://10.1.2.3/", "10.1.2.4,10.0.0.0/8", true),
            ("ws://11.1.2.3/", "10.0.0.0/8", false),
            ("ws://10.1.2.3/", "2.3", false),
            ("ws://10.1.2.3/", "10.1.2.0/24", true),
            ("ws://10.1.3.3/", "10.1.2.0/24", false),
            ("ws://10.1.2.3/", "0.0.0.0/0", true),
            ("ws://10.1.2.3/", "10.1.2.3/33", false),
            ("ws://10.1.2.3/", "10.1.2.3/", false),
            ("ws://10.1.2.3/", "::/0", false),
            ("ws://[fd00::1]/", "fd00::/8", true),
            ("ws://[fe00::1]/", "fd00::/8", false),
            ("ws://[fd00::1]/", "[fd00::1]", true),
            ("ws://[fe80::1%25eth0]/", "fe80::/10", true),
            ("ws://localhost/", "127.0.0.0/8", false),
        ];
        for (url, list, excepted) in cases {
            let environment = [("http_proxy", "proxy"), ("no_proxy", list)];
            let expected = (!excepted).then_some("proxy");
            assert_eq!(choose(url, &environment), expected, "{url} {list:?}");
        }
        let capitals = [("http_proxy", "proxy"), ("NO_PROXY", "h")];
        assert_eq!(choose("ws://h/", &capitals), None);
    }
}
