//! What a proxy says of the TLS that it ended, and the names of the variables that tell a program.

use super::v2::MALFORMED;
use crate::model::text::harmless;
use ppp::v2::TypeLengthValues;

/// The longest value; one that is longer, or is no harmless text, is left out, since a part of a name is another name.
const VALUE_BYTES: usize = 255;

/// The types of fields: PROXY protocol §2.2.
const AUTHORITY: u8 = 0x02;
const TLS: u8 = 0x20;
const VERSION: u8 = 0x21;
const COMMON_NAME: u8 = 0x22;
const CIPHER: u8 = 0x23;

/// PP2_CLIENT_SSL, and PP2_CLIENT_CERT_CONN or PP2_CLIENT_CERT_SESS.
const WITH_TLS: u8 = 1;
const WITH_CERTIFICATE: u8 = 2 | 4;

/// The client's TLS; each value is text without control characters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tls {
    protocol: Option<Box<str>>,
    cipher: Option<Box<str>>,
    server_name: Option<Box<str>>,
    client_name: Option<Box<str>>,
}

impl Tls {
    /// From the fields of a header; of several of one type the last stands.
    pub(super) fn read(fields: &[u8]) -> Result<Self, &'static str> {
        let mut tls = Self::default();
        for field in TypeLengthValues::from(fields) {
            let field = field.map_err(|_| MALFORMED)?;
            match field.kind {
                AUTHORITY => tls.server_name = text(&field.value),
                TLS => tls.add(&field.value)?,
                _ => {}
            }
        }
        Ok(tls)
    }

    /// A field of fields. The client's name counts only where the proxy has verified the certificate: it sends the name
    /// in one that it has not verified, too.
    fn add(&mut self, value: &[u8]) -> Result<(), &'static str> {
        let ([flags, verified @ ..], fields) = value.split_first_chunk::<5>().ok_or(MALFORMED)?;
        let is_verified = *verified == [0; 4] && flags & WITH_CERTIFICATE != 0;
        for field in TypeLengthValues::from(fields) {
            let field = field.map_err(|_| MALFORMED)?;
            match field.kind {
                _ if flags & WITH_TLS == 0 => {}
                VERSION => self.protocol = text(&field.value),
                CIPHER => self.cipher = text(&field.value),
                COMMON_NAME if is_verified => self.client_name = text(&field.value),
                _ => {}
            }
        }
        Ok(())
    }

    /// The variables that a program gets, named as s6-networking's proxy-server does. That calls the name in the
    /// client's certificate SSL_PEER_CERT_CN, and others call it SSL_CLIENT_CN, so that it has both names.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("SSL_PROTOCOL", &self.protocol),
            ("SSL_CIPHER", &self.cipher),
            ("SSL_TLS_SNI_SERVERNAME", &self.server_name),
            ("SSL_CLIENT_CN", &self.client_name),
            ("SSL_PEER_CERT_CN", &self.client_name),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

fn text(value: &[u8]) -> Option<Box<str>> {
    let text = str::from_utf8(value).ok()?;
    let is_fit = (1..=VALUE_BYTES).contains(&text.len()) && harmless(value) == text;
    is_fit.then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::proxy::{Reading, read};
    use crate::model::address::Place;

    fn field(kind: u8, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[kind], &len[..], value].concat()
    }

    fn tls(flags: u8, verified: [u8; 4], fields: &[Vec<u8>]) -> Vec<u8> {
        field(TLS, &[&[flags][..], &verified, &fields.concat()].concat())
    }

    fn shown(fields: &[u8]) -> String {
        let tls = Tls::read(fields).unwrap();
        let variables = tls
            .variables()
            .map(|(name, value)| format!("{name}={value}"));
        variables.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_program_is_told_of_the_clients_tls() {
        let fields = [
            field(VERSION, b"TLSv1.3"),
            field(COMMON_NAME, "J\u{f6}rg & Co".as_bytes()),
            field(CIPHER, b"TLS_AES_256_GCM_SHA384"),
            field(0x24, b"RSA-SHA256"),
            field(0x25, b"RSA2048"),
        ];
        let name = field(AUTHORITY, b"www.example.org");
        let alpn = field(0x01, b"h2");
        let session = "SSL_PROTOCOL=TLSv1.3 SSL_CIPHER=TLS_AES_256_GCM_SHA384";
        let client = "SSL_CLIENT_CN=J\u{f6}rg & Co SSL_PEER_CERT_CN=J\u{f6}rg & Co";
        let server = "SSL_TLS_SNI_SERVERNAME=www.example.org";
        let table = [
            (Vec::new(), String::new()),
            (name.clone(), server.into()),
            (
                [alpn, name, tls(1 | 2 | 4, [0; 4], &fields)].concat(),
                format!("{session} {server} {client}"),
            ),
            (tls(1 | 4, [0; 4], &fields), format!("{session} {client}")),
            // No certificate, or none that was verified: no name.
            (tls(1, [0; 4], &fields), session.into()),
            (tls(1 | 2, [0, 0, 0, 18], &fields), session.into()),
            // No TLS at all.
            (tls(2, [0; 4], &fields), String::new()),
            (tls(1, [0; 4], &[]), String::new()),
        ];
        for (fields, variables) in table {
            assert_eq!(shown(&fields), variables);
        }
    }

    #[test]
    fn what_is_no_harmless_text_is_left_out_whole() {
        let long = [b'x'; 256];
        for value in [
            &b""[..],
            b"a\nb",
            b"admin\0.example",
            b"\xff",
            b"\x7f",
            "\u{202e}".as_bytes(),
            &long,
        ] {
            assert_eq!(
                shown(&field(AUTHORITY, value)),
                "",
                "{}",
                value.escape_ascii()
            );
            let fields = [
                field(VERSION, value),
                field(COMMON_NAME, value),
                field(CIPHER, value),
            ];
            assert_eq!(shown(&tls(7, [0; 4], &fields)), "");
        }
        let name = "SSL_TLS_SNI_SERVERNAME=".to_owned() + &"x".repeat(255);
        assert_eq!(shown(&field(AUTHORITY, &long[..255])), name);
    }

    /// A header over IPv4 with these fields, the checksum in it.
    fn summed(command: u8, kind: u8, before: &[u8], after: &[u8], change: u32) -> Vec<u8> {
        let rest = [&[7; 12][..], before, &field(3, &[0; 4]), after].concat();
        let rest = if kind == 0 { &rest[12..] } else { &rest };
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        let mut header = [b"\r\n\r\n\0\r\nQUIT\n", &[command, kind][..], &len, rest].concat();
        let sum = super::super::checksum::of(header.iter()) ^ change;
        let place = header.len() - after.len() - 4;
        header[place..place + 4].copy_from_slice(&sum.to_be_bytes());
        header
    }

    #[test]
    fn a_checksum_that_is_there_must_be_right() {
        let name = field(AUTHORITY, b"a.b");
        for (command, kind) in [(0x21, 0x11), (0x21, 0x00), (0x20, 0x00), (0x20, 0x11)] {
            for (before, after) in [
                (&b""[..], &b""[..]),
                (&name, b""),
                (b"", &name),
                (&name, &name),
            ] {
                let good = summed(command, kind, before, after, 0);
                assert!(
                    matches!(read(&good), Reading::Whole { .. }),
                    "{command:x} {kind:x}"
                );
                let wrong = Reading::Wrong("a wrong checksum in a PROXY header");
                assert_eq!(read(&summed(command, kind, before, after, 1)), wrong);
                assert_eq!(read(&summed(command, kind, before, after, 1 << 31)), wrong);
                let mut changed = good;
                let place = changed.len() - 1;
                changed[place] ^= 0x40;
                assert_eq!(read(&changed), wrong);
            }
        }
    }

    /// What HAProxy 2.6 sent: with `send-proxy-v2-ssl-cn` to a client with a certificate, with all options to the same
    /// and to one without, and for a check of its own.
    #[test]
    fn headers_of_haproxy_are_read() {
        let signature = "0d0a0d0a000d0a515549540a";
        let ends = "127.0.0.1:7203";
        let table = [
            (
                "211100347f0000017f000001b9021c2301000268322000200700000000210007544c5376312e3322000e636c69656e742e657861\
                 6d706c65",
                ends,
                "SSL_PROTOCOL=TLSv1.3 SSL_CLIENT_CN=client.example SSL_PEER_CERT_CN=client.example",
            ),
            (
                "2111009c7f0000017f00000189b01c24030004cdbb0527010002683202000b736b642e6578616d706c6505001b37463030303030\
                 313a383942305f37463030303030313a314332342000550700000000210007544c5376312e3322000e636c69656e742e6578616d\
                 706c65250005454332353624001165636473612d776974682d534841323536230016544c535f4145535f3235365f47434d5f5348\
                 41333834",
                "127.0.0.1:7204",
                "SSL_PROTOCOL=TLSv1.3 SSL_CIPHER=TLS_AES_256_GCM_SHA384 SSL_TLS_SNI_SERVERNAME=skd.example \
                 SSL_CLIENT_CN=client.example SSL_PEER_CERT_CN=client.example",
            ),
            (
                "211100867f0000017f000001c65e1c24030004664cd4eb02000b736b642e6578616d706c6505001b37463030303030313a433635\
                 455f37463030303030313a314332342000440100000000210007544c5376312e3325000545433235362400116563\
                 6473612d776974682d534841323536230016544c535f4145535f3235365f47434d5f534841333834",
                "127.0.0.1:7204",
                "SSL_PROTOCOL=TLSv1.3 SSL_CIPHER=TLS_AES_256_GCM_SHA384 SSL_TLS_SNI_SERVERNAME=skd.example",
            ),
            ("20000000", "", ""),
        ];
        for (hex, local, variables) in table {
            let hex = format!("{signature}{hex}");
            let bytes = hex
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap());
            let bytes: Vec<u8> = bytes.collect();
            let Reading::Whole { bytes: len, header } = read(&bytes) else {
                panic!("{hex}");
            };
            assert_eq!(len, bytes.len());
            let said = header.ends.map(|ends| match ends.local {
                Place::Inet(address) => address.to_string(),
                place => format!("{place:?}"),
            });
            assert_eq!(said.unwrap_or_default(), local);
            let set = header
                .tls
                .variables()
                .map(|(name, value)| format!("{name}={value}"));
            assert_eq!(set.collect::<Vec<_>>().join(" "), variables);
        }
    }
}
