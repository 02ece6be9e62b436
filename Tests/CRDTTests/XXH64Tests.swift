import CRDT
import Testing

@Test(
    "XXH64 gives the published vectors",
    arguments: [
        ("", 0, 0xef46_db37_51d8_e999), ("a", 0, 0xd24e_c4f1_a98c_6e5b), ("abc", 0, 0x44bc_2cf5_ad77_0999),
        ("The quick brown fox jumps over the lazy dog", 0, 0x0b24_2d36_1fda_71bc),
    ] as [(String, UInt64, UInt64)])
func vectors(text: String, seed: UInt64, expected: UInt64) {
    #expect(XXH64.hash(Array(text.utf8).span.bytes, seed: seed) == expected)
}
