import CRDT

/// Moments as ISO 8601 text in UTC with milliseconds: `2026-11-21T09:45:00.123Z`.
public enum ISOTime {
    /// The 24 characters.
    public static func text(milliseconds: UInt64) -> String {
        var out: [UInt8] = []
        write(milliseconds: milliseconds, into: &out)
        return String(decoding: out, as: UTF8.self)
    }

    /// Appends the 24 characters. Years above 9999 are written as 9999.
    static func write(milliseconds: UInt64, into out: inout [UInt8]) {
        let (days, ms) = (milliseconds / 86_400_000, milliseconds % 86_400_000)
        let (year, month, day) = civil(days: days)
        func pad(_ value: UInt64, _ digits: Int) {
            var divisor: UInt64 = digits == 4 ? 1_000 : digits == 3 ? 100 : 10
            while divisor > 0 {
                out.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value / divisor % 10))
                divisor /= 10
            }
        }
        pad(min(year, 9_999), 4)
        out.append(UInt8(ascii: "-"))
        pad(month, 2)
        out.append(UInt8(ascii: "-"))
        pad(day, 2)
        out.append(UInt8(ascii: "T"))
        pad(ms / 3_600_000, 2)
        out.append(UInt8(ascii: ":"))
        pad(ms / 60_000 % 60, 2)
        out.append(UInt8(ascii: ":"))
        pad(ms / 1_000 % 60, 2)
        out.append(UInt8(ascii: "."))
        pad(ms % 1_000, 3)
        out.append(UInt8(ascii: "Z"))
    }

    /// Reads `YYYY-MM-DDTHH:MM:SS`, an optional fraction, and `Z` or an offset of hours and minutes; nil for others.
    static func milliseconds(_ text: String) -> UInt64? {
        let bytes = Array(text.utf8)
        func number(_ range: Range<Int>) -> Int? {
            guard range.upperBound <= bytes.count else { return nil }
            var value = 0
            for byte in bytes[range] {
                guard byte &- UInt8(ascii: "0") < 10 else { return nil }
                value = value * 10 + Int(byte - UInt8(ascii: "0"))
            }
            return value
        }
        guard bytes.count >= 20, let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"), bytes[10] | 0x20 == UInt8(ascii: "t"),
            bytes[13] == UInt8(ascii: ":"), bytes[16] == UInt8(ascii: ":"),
            (1...12).contains(month), day >= 1, day <= length(ofMonth: month, year: year), hour < 24, minute < 60,
            second < 61, year >= 1970
        else { return nil }
        var at = 19
        var fraction = 0
        if bytes[at] == UInt8(ascii: ".") {
            at += 1
            var scale = 100
            let start = at
            while at < bytes.count, bytes[at] &- UInt8(ascii: "0") < 10 {
                fraction += Int(bytes[at] - UInt8(ascii: "0")) * scale
                scale /= 10
                at += 1
            }
            guard at > start else { return nil }
        }
        guard at < bytes.count else { return nil }
        var offset = 0
        if bytes[at] | 0x20 == UInt8(ascii: "z") {
            guard at + 1 == bytes.count else { return nil }
        } else {
            guard bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-"), bytes.count == at + 6,
                bytes[at + 3] == UInt8(ascii: ":"), let hours = number(at + 1..<at + 3), hours < 24,
                let minutes = number(at + 4..<at + 6), minutes < 60
            else { return nil }
            offset = (hours * 60 + minutes) * (bytes[at] == UInt8(ascii: "-") ? -1 : 1)
        }
        let seconds = (days(year: year, month: month, day: day) * 24 + hour) * 3_600 + (minute - offset) * 60 + second
        return seconds < 0 ? nil : UInt64(seconds) * 1_000 + UInt64(fraction)
    }

    private static func length(ofMonth month: Int, year: Int) -> Int {
        month == 12 ? 31 : days(year: year, month: month + 1, day: 1) - days(year: year, month: month, day: 1)
    }

    /// Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    private static func civil(days: UInt64) -> (year: UInt64, month: UInt64, day: UInt64) {
        let z = days + 719_468
        let era = z / 146_097
        let doe = z % 146_097
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100)
        let mp = (5 * doy + 2) / 153
        let month = mp < 10 ? mp + 3 : mp - 9
        return (yoe + era * 400 + (month <= 2 ? 1 : 0), month, doy - (153 * mp + 2) / 5 + 1)
    }

    /// The inverse, `days_from_civil`.
    private static func days(year: Int, month: Int, day: Int) -> Int {
        let y = month <= 2 ? year - 1 : year
        let era = y / 400
        let yoe = y - era * 400
        let doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
    }
}
