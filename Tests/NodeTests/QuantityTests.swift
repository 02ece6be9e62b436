import Gossip
import Testing

@testable import Node

@Suite("Durations, sizes, numbers and near misses")
struct QuantityTests {
    @Test("Durations have a unit; the result is in milliseconds")
    func durations() throws {
        let read = Read.duration(0...UInt64.max)
        let good: [(String, UInt64)] = [
            ("0s", 0), ("500ms", 500), ("2s", 2_000), ("1.5s", 1_500), ("2 s", 2_000), ("3m", 180_000),
            ("1h", 3_600_000),
            ("0.0004s", 0), ("0.0006s", 1),
        ]
        for (text, expected) in good { #expect(try read(text) == expected, "\(text)") }
        for text in [
            "", "2", "s", "-1s", "2sec", "2S", "1e3s", "..s", "1.2.3s", "inf", "99999999999999999999h", "0x1s",
        ] {
            #expect(throws: BadValue.self, "\(text)") { try read(text) }
        }
        #expect(durationText(7_200_000) == "2h" && durationText(90_000) == "90s" && durationText(1_500) == "1500ms")
    }

    @Test("Sizes count in bytes, by 1,024 or by 1,000 as their unit says")
    func sizes() throws {
        let read = Read.size(0...Int.max)
        let good: [(String, Int)] = [
            ("0", 0), ("1000", 1_000), ("10B", 10), ("64KiB", 65_536), ("1.5MiB", 1_572_864), ("1GiB", 1 << 30),
            ("2TiB", 2 << 40), ("1kB", 1_000), ("1KB", 1_000), ("100MB", 100_000_000), ("1 GB", 1_000_000_000),
        ]
        for (text, expected) in good { #expect(try read(text) == expected, "\(text)") }
        for text in ["", "GiB", "-1", "1gib", "1 G", "1e9", "9999999TiB", "1GiBx"] {
            #expect(throws: BadValue.self, "\(text)") { try read(text) }
        }
        #expect(sizeText(1 << 30) == "1GiB" && sizeText(1_536) == "1536B" && sizeText(3 << 20) == "3MiB")
    }

    @Test("Hosts are names or addresses, IPv6 in brackets, with a port")
    func hosts() {
        let good = ["127.0.0.1:5000", "[::1]:5000", "[fe80::1]:0", "localhost:65535", "node_1.lan:80"]
        for text in good { #expect(HostPort(text)?.description == text, "\(text)") }
        let bad = [
            "", ":1", "a", "a:", "a:65536", "a:-1", "a:+1", "::1:5000", "[::1]", "[a]:1", "[]:1", "a b:1", "http://a:1",
            "a:1:2",
            "a/b:1", "é:1",
        ]
        for text in bad { #expect(HostPort(text) == nil, "\(text)") }
    }

    @Test("A numeric host resolves to itself without asking anybody")
    func resolving() throws {
        #expect(try HostPort(host: "127.0.0.1", port: 7946).resolve().map(\.description) == ["127.0.0.1:7946"])
        #expect(try HostPort(host: "::1", port: 1).resolve().map(\.description) == ["[0:0:0:0:0:0:0:1]:1"])
    }

    @Test("Decimals are cut and padded, halves rounded away from zero")
    func decimals() {
        let rows: [(Double, Int, String)] = [
            (0, 3, "0.000"), (0.5, 0, "1"), (1.0005, 2, "1.00"), (-0.125, 2, "-0.13"), (-0.001, 2, "0.00"),
            (12.999, 1, "13.0"),
            (.infinity, 1, "inf"),
        ]
        for (value, places, expected) in rows { #expect(fixed(value, places) == expected) }
        #expect(
            bar(0.5, width: 4) == "██" && bar(0.53125, width: 4) == "██▏" && bar(9, width: 2) == "██"
                && bar(-1, width: 2) == "")
    }

    @Test("Near is at most a third of the letters, a swap counting once; or the beginning of a longer word")
    func near() {
        let words = ["--http", "--join", "--log-level", "--log-format"]
        let rows: [(String, String?)] = [
            ("--jion", "--join"), ("--htp", "--http"), ("--log-lvl", "--log-level"), ("--log-f", "--log-format"),
            ("--zzzzz", nil), ("-", nil),
        ]
        for (text, expected) in rows { #expect(nearest(to: text, in: words) == expected, "\(text)") }
        #expect(
            edits(from: "ab", to: "ba") == 1 && edits(from: "", to: "abc") == 3
                && edits(from: "kitten", to: "sitting") == 3)
    }
}
