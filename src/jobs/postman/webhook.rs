//! As a `POST` with a signature, to an address outside.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use ipnet::IpNet;
use serde_json::{Value, json};
use sha2::Sha256;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::{Letter, Post, Unsent};
use crate::domain::notice::Delivery;
use crate::domain::{Secret, Timestamp};

const PATIENCE: Duration = Duration::from_secs(20);

/// Blocks.
pub(super) fn send(
    post: &Post,
    to: &str,
    secret: &Secret,
    delivery: &Delivery,
    letter: &Letter,
    now: Timestamp,
) -> Result<(), Unsent> {
    let body = body(delivery, letter, now).to_string();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // What stands elsewhere was not looked at.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_global(Some(PATIENCE))
        .user_agent(concat!("stillpoint/", env!("CARGO_PKG_VERSION")))
        .build();
    let outside = Outside { resolver: DefaultResolver::default(), inside: post.inside.clone() };
    let agent = Agent::with_parts(config, DefaultConnector::default(), outside);
    let reply = agent
        .post(to)
        .header("content-type", "application/json")
        .header("stillpoint-delivery", delivery.id.as_str())
        .header("stillpoint-signature", signature(secret, now, &body))
        .send(&body)
        .map_err(|error| match error {
            ureq::Error::Other(inner) => Unsent::Refused(inner.to_string()),
            other => Unsent::Post(Box::new(other)),
        })?;
    if reply.status().is_success() { Ok(()) } else { Err(Unsent::Status(reply.status().as_u16())) }
}

fn body(delivery: &Delivery, letter: &Letter, now: Timestamp) -> Value {
    let activity = letter.activity.as_ref();
    json!({
        "id": delivery.id,
        "type": delivery.notice.as_str(),
        "text": letter.subject(),
        "about": letter.about,
        "sent_at": now,
        "project": delivery.project,
        "environment": letter.environment,
        "activity": activity.map(|activity| json!({
            "id": activity.id,
            "type": activity.kind,
            "result": activity.result,
            "failure_reason": activity.failure,
            "initiator": activity.initiator.name,
            "created_at": activity.created_at,
            "completed_at": activity.completed_at,
        })),
        "link": letter.link,
    })
}

/// `t=UNIX,v1=HEX`: HMAC-SHA256, with the channel's secret, of the time in seconds since 1970, a dot and the body. Whoever
/// takes it compares, and refuses what is older than some minutes.
pub fn signature(secret: &Secret, now: Timestamp, body: &str) -> String {
    let seconds = now.as_micros().div_euclid(1_000_000);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).expect("a key of any length will do");
    mac.update(format!("{seconds}.{body}").as_bytes());
    format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// Resolves names to addresses outside, or inside networks that the operator has allowed.
#[derive(Debug)]
struct Outside {
    resolver: DefaultResolver,
    inside: Vec<IpNet>,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is an address of an inner network, where this installation sends nothing: its operator can allow it with --webhook-network"
)]
struct Refused(IpAddr);

impl Resolver for Outside {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        let is_allowed = |address: &SocketAddr| {
            !is_inside(address.ip()) || self.inside.iter().any(|network| network.contains(&plain(address.ip())))
        };
        // One that leads inside is enough: it would be chosen now and then.
        match found.iter().find(|address| !is_allowed(address)) {
            Some(address) => Err(ureq::Error::Other(Box::new(Refused(address.ip())))),
            None => Ok(found),
        }
    }
}

/// IPv4 that is written as IPv6.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Whether it is not one of the internet at large.
fn is_inside(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                // Shared by providers; of protocols; for measurements.
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19))
        }
        IpAddr::V6(v6) => {
            // What is given out at large, but for addresses that carry an IPv4 one: 6to4, Teredo.
            let [first, second, ..] = v6.segments();
            first & 0xe000 != 0x2000 || first == 0x2002 || (first == 0x2001 && second == 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_inner_networks_are_told_from_others() {
        let inside = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "::ffff:0:10.0.0.1",
            "fec0::1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001::1",
        ];
        for text in inside {
            assert!(is_inside(text.parse().expect("an address")), "{text}");
        }
        for text in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(!is_inside(text.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn a_signature_is_of_time_and_body() {
        let sign = |secret, seconds: i64, body| {
            signature(&Secret::new(secret), Timestamp::from_micros(seconds * 1_000_000), body)
        };
        // Computed with openssl: printf '1434733902.{}' | openssl dgst -sha256 -hmac secret
        let signed = sign("secret", 1_434_733_902, "{}");
        assert_eq!(signed, EXPECTED);
        assert_ne!(sign("other", 1_434_733_902, "{}"), signed);
        assert_ne!(sign("secret", 1_434_733_903, "{}"), signed);
        assert_ne!(sign("secret", 1_434_733_902, "{ }"), signed);
    }

    const EXPECTED: &str = "t=1434733902,v1=072b22d81808a962f9bc9a39c8df257908d7acd8b422b3d81b3ae4ade3009e27";
}
