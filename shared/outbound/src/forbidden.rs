//! The addresses that outbound requests must not reach: everything but the public internet.
//!
//! A tenant chooses the URL that we call from inside our network. Without this table, a URL could point to the instance metadata
//! service or a host in the VPC, also in disguise (an IPv6 address that embeds an IPv4 address). This is SSRF protection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// Forbidden IPv4 blocks with their names. The first match counts, so narrow blocks come before the wide ones that contain them.
const IPV4: &[(Ipv4Net, &str)] = &[
    (v4(169, 254, 169, 254, 32), "instance metadata service"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(0, 0, 0, 0, 8), "this network (0.0.0.0/8)"),
    (v4(10, 0, 0, 0, 8), "private network (10.0.0.0/8)"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT (100.64.0.0/10)"),
    (v4(127, 0, 0, 0, 8), "loopback (127.0.0.0/8)"),
    (v4(169, 254, 0, 0, 16), "link-local (169.254.0.0/16)"),
    (v4(172, 16, 0, 0, 12), "private network (172.16.0.0/12)"),
    (v4(192, 0, 0, 0, 24), "protocol assignments (192.0.0.0/24)"),
    (v4(192, 0, 2, 0, 24), "documentation (192.0.2.0/24)"),
    (v4(192, 88, 99, 0, 24), "6to4 relay (192.88.99.0/24)"),
    (v4(192, 168, 0, 0, 16), "private network (192.168.0.0/16)"),
    (v4(198, 18, 0, 0, 15), "benchmarking (198.18.0.0/15)"),
    (v4(198, 51, 100, 0, 24), "documentation (198.51.100.0/24)"),
    (v4(203, 0, 113, 0, 24), "documentation (203.0.113.0/24)"),
    (v4(224, 0, 0, 0, 4), "multicast (224.0.0.0/4)"),
    (v4(240, 0, 0, 0, 4), "reserved (240.0.0.0/4)"),
];

/// Forbidden IPv6 blocks with their names, in the same order.
///
/// Forms that embed an IPv4 address (mapped, compatible, translated, 6to4, Teredo, NAT64) are forbidden as a whole. A public host has
/// a plain address, so only an attempt to hide an address needs them.
const IPV6: &[(Ipv6Net, &str)] = &[
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), "instance metadata service"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified (::)"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback (::1)"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "IPv4-mapped (::ffff:0:0/96)"),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), "IPv4-translated (::ffff:0:0:0/96)"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "IPv4-compatible (::/96)"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "NAT64 (64:ff9b::/96)"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "local NAT64 (64:ff9b:1::/48)"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discard (100::/64)"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo (2001::/32)"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "protocol assignments (2001::/23)"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation (2001:db8::/32)"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4 (2002::/16)"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation (3fff::/20)"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "SRv6 segments (5f00::/16)"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "unique local (fc00::/7)"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local (fe80::/10)"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local (fec0::/10)"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast (ff00::/8)"),
];

/// The block of all public IPv6 hosts. Addresses outside of it are forbidden even if no block above names them.
const IPV6_GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Returns the name of the block that forbids an address, or `None` if the address is public.
pub fn forbidden_block(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => IPV4.iter().find(|(net, _)| net.contains(&ip)).map(|(_, name)| *name),
        IpAddr::V6(ip) => IPV6
            .iter()
            .find(|(net, _)| net.contains(&ip))
            .map(|(_, name)| *name)
            .or_else(|| (!IPV6_GLOBAL_UNICAST.contains(&ip)).then_some("not global unicast (outside 2000::/3)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses of every block, its first and last among them, with the block's name.
    const REFUSED: &[(&str, &str)] = &[
        ("0.0.0.0", "this network (0.0.0.0/8)"),
        ("0.255.255.255", "this network (0.0.0.0/8)"),
        ("10.0.0.0", "private network (10.0.0.0/8)"),
        ("10.255.255.255", "private network (10.0.0.0/8)"),
        ("100.64.0.0", "carrier-grade NAT (100.64.0.0/10)"),
        ("100.100.100.200", "carrier-grade NAT (100.64.0.0/10)"),
        ("100.127.255.255", "carrier-grade NAT (100.64.0.0/10)"),
        ("127.0.0.0", "loopback (127.0.0.0/8)"),
        ("127.0.0.1", "loopback (127.0.0.0/8)"),
        ("127.255.255.255", "loopback (127.0.0.0/8)"),
        ("169.254.0.0", "link-local (169.254.0.0/16)"),
        ("169.254.169.253", "link-local (169.254.0.0/16)"),
        ("169.254.169.254", "instance metadata service"),
        ("169.254.170.2", "link-local (169.254.0.0/16)"),
        ("169.254.255.255", "link-local (169.254.0.0/16)"),
        ("172.16.0.0", "private network (172.16.0.0/12)"),
        ("172.31.255.255", "private network (172.16.0.0/12)"),
        ("192.0.0.0", "protocol assignments (192.0.0.0/24)"),
        ("192.0.0.255", "protocol assignments (192.0.0.0/24)"),
        ("192.0.2.0", "documentation (192.0.2.0/24)"),
        ("192.0.2.255", "documentation (192.0.2.0/24)"),
        ("192.88.99.0", "6to4 relay (192.88.99.0/24)"),
        ("192.88.99.255", "6to4 relay (192.88.99.0/24)"),
        ("192.168.0.0", "private network (192.168.0.0/16)"),
        ("192.168.255.255", "private network (192.168.0.0/16)"),
        ("198.18.0.0", "benchmarking (198.18.0.0/15)"),
        ("198.19.255.255", "benchmarking (198.18.0.0/15)"),
        ("198.51.100.0", "documentation (198.51.100.0/24)"),
        ("198.51.100.255", "documentation (198.51.100.0/24)"),
        ("203.0.113.0", "documentation (203.0.113.0/24)"),
        ("203.0.113.255", "documentation (203.0.113.0/24)"),
        ("224.0.0.0", "multicast (224.0.0.0/4)"),
        ("239.255.255.255", "multicast (224.0.0.0/4)"),
        ("240.0.0.0", "reserved (240.0.0.0/4)"),
        ("255.255.255.254", "reserved (240.0.0.0/4)"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified (::)"),
        ("::1", "loopback (::1)"),
        ("::2", "IPv4-compatible (::/96)"),
        ("::127.0.0.1", "IPv4-compatible (::/96)"),
        ("::10.0.0.1", "IPv4-compatible (::/96)"),
        ("::8.8.8.8", "IPv4-compatible (::/96)"),
        ("::ffff:0.0.0.0", "IPv4-mapped (::ffff:0:0/96)"),
        ("::ffff:127.0.0.1", "IPv4-mapped (::ffff:0:0/96)"),
        ("::ffff:10.0.0.1", "IPv4-mapped (::ffff:0:0/96)"),
        ("::ffff:169.254.169.254", "IPv4-mapped (::ffff:0:0/96)"),
        ("::ffff:8.8.8.8", "IPv4-mapped (::ffff:0:0/96)"),
        ("::ffff:0:127.0.0.1", "IPv4-translated (::ffff:0:0:0/96)"),
        ("64:ff9b::7f00:1", "NAT64 (64:ff9b::/96)"),
        ("64:ff9b::a9fe:a9fe", "NAT64 (64:ff9b::/96)"),
        ("64:ff9b::ffff:ffff", "NAT64 (64:ff9b::/96)"),
        ("64:ff9b:1::", "local NAT64 (64:ff9b:1::/48)"),
        ("64:ff9b:1:ffff:ffff:ffff:a00:1", "local NAT64 (64:ff9b:1::/48)"),
        ("64:ff9b:2::1", "not global unicast (outside 2000::/3)"),
        ("100::", "discard (100::/64)"),
        ("100::ffff:ffff:ffff:ffff", "discard (100::/64)"),
        ("100:0:0:1::1", "not global unicast (outside 2000::/3)"),
        ("2001::", "Teredo (2001::/32)"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo (2001::/32)"),
        ("2001:2::1", "protocol assignments (2001::/23)"),
        ("2001:10::1", "protocol assignments (2001::/23)"),
        ("2001:20::1", "protocol assignments (2001::/23)"),
        ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "protocol assignments (2001::/23)"),
        ("2001:db8::", "documentation (2001:db8::/32)"),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation (2001:db8::/32)"),
        ("2002::", "6to4 (2002::/16)"),
        ("2002:7f00:1::1", "6to4 (2002::/16)"),
        ("2002:a00:1::1", "6to4 (2002::/16)"),
        ("2002:a9fe:a9fe::1", "6to4 (2002::/16)"),
        ("2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4 (2002::/16)"),
        ("3fff::1", "documentation (3fff::/20)"),
        ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation (3fff::/20)"),
        ("4000::1", "not global unicast (outside 2000::/3)"),
        ("5f00::1", "SRv6 segments (5f00::/16)"),
        ("5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "SRv6 segments (5f00::/16)"),
        ("fc00::", "unique local (fc00::/7)"),
        ("fd00:ec2::254", "instance metadata service"),
        ("fd00:ec2::253", "unique local (fc00::/7)"),
        ("fd20:ce::254", "unique local (fc00::/7)"),
        ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "unique local (fc00::/7)"),
        ("fe80::1", "link-local (fe80::/10)"),
        ("fe80::a9fe:a9fe", "link-local (fe80::/10)"),
        ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local (fe80::/10)"),
        ("fec0::1", "site-local (fec0::/10)"),
        ("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site-local (fec0::/10)"),
        ("ff00::", "multicast (ff00::/8)"),
        ("ff02::1", "multicast (ff00::/8)"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast (ff00::/8)"),
    ];

    /// Public addresses next to the blocks. Forbidding them would cut off real customers.
    const ALLOWED: &[&str] = &[
        "1.0.0.0",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2000::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db9::1",
        "2003::1",
        "2600:1f18::1",
        "2a00:1450:4001::1",
        "3ffe:ffff::1",
        "3fff:1000::1",
    ];

    #[test]
    fn addresses_of_every_block_are_forbidden_by_name() {
        for (address, name) in REFUSED {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(forbidden_block(ip), Some(*name), "{address}");
        }
    }

    #[test]
    fn public_addresses_next_to_every_block_are_allowed() {
        for address in ALLOWED {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(forbidden_block(ip), None, "{address}");
        }
    }

    #[test]
    fn every_block_has_a_test_address() {
        let tested: Vec<&str> = REFUSED.iter().map(|(_, name)| *name).collect();
        for name in IPV4.iter().map(|(_, name)| *name).chain(IPV6.iter().map(|(_, name)| *name)) {
            assert!(tested.contains(&name), "{name} has no test");
        }
    }
}
