/// For whom something is remembered, as Soorma's memory and tracker have it: the headers `X-Tenant-ID` and `X-User-ID`. A
/// node believes what is said there, and keeps tenants apart by name only.
public struct Tenancy: Hashable, Sendable {
    /// Whose data it is.
    let tenant: String
    /// Which of the tenant's users.
    let user: String

    /// The tenant of clients that name none.
    static let defaultTenant = "00000000-0000-0000-0000-000000000000"
    /// The user of clients that name none.
    static let defaultUser = "00000000-0000-0000-0000-000000000001"

    /// With nil, who those are that name nobody.
    public init(tenant: String? = nil, user: String? = nil) {
        self.tenant = tenant ?? Self.defaultTenant
        self.user = user ?? Self.defaultUser
    }

    /// The part of a document's key that stands for these parts, in order: what they contain cannot make two of them one,
    /// whatever bytes they have.
    static func key(_ parts: String...) -> String {
        parts.map { part in
            var escaped: [UInt8] = []
            for byte in part.utf8 {
                switch byte {
                case UInt8(ascii: "/"): escaped += Array("%2F".utf8)
                case UInt8(ascii: "%"): escaped += Array("%25".utf8)
                default: escaped.append(byte)
                }
            }
            return String(decoding: escaped, as: UTF8.self)
        }.joined(separator: "/")
    }

    /// The parts of such a key.
    static func parts(_ key: [UInt8]) -> [String] {
        key.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map { part in
            var plain: [UInt8] = []
            var at = part.startIndex
            while at < part.endIndex {
                if part[at] == UInt8(ascii: "%"), at + 2 < part.endIndex {
                    plain.append(part[at + 2] == UInt8(ascii: "F") ? UInt8(ascii: "/") : UInt8(ascii: "%"))
                    at += 3
                } else {
                    plain.append(part[at])
                    at += 1
                }
            }
            return String(decoding: plain, as: UTF8.self)
        }
    }
}
