/// Letters without their case and their marks, where a letter with a mark has a number of its own.
///
/// The tables hold, for each scalar of a block, the one it becomes: canonical decomposition (Unicode 15, chapter 3.7) less
/// the marks U+0300 to U+036F, in lower case, final sigma as sigma. So é is e and й is и, whether a text has them as one
/// scalar or as two. Blocks: Latin-1 Supplement, Latin Extended-A and -B, Greek, Cyrillic, Latin Extended Additional. They
/// are written down rather than asked of the system, so that nodes of different builds find the same.
enum LetterFolding {
    /// What a letter beyond ASCII becomes; nil for one that is in no table.
    static func folded(_ scalar: UInt32) -> UInt32? {
        switch scalar {
        case 0xc0...0x24f: latin[Int(scalar - 0xc0)]
        case 0x370...0x3ff: greek[Int(scalar - 0x370)]
        case 0x400...0x45f: cyrillic[Int(scalar - 0x400)]
        case 0x1e00...0x1eff: latinAdditional[Int(scalar - 0x1e00)]
        default: nil
        }
    }

    private static func table(_ rows: String...) -> [UInt32] {
        rows.flatMap { $0.unicodeScalars.map(\.value) }
    }

    private static let latin = table(
        "aaaaaaæceeeeiiiiðnooooo×øuuuuyþßaaaaaaæceeeeiiiiðnooooo÷øuuuuyþy",
        "aaaaaaccccccccddđđeeeeeeeeeegggggggghhħħiiiiiiiiiıĳĳjjkkĸllllllŀ",
        "ŀłłnnnnnnŉŋŋooooooœœrrrrrrssssssssttttŧŧuuuuuuuuuuuuwwyyyzzzzzzſ",
        "ƀɓƃƃƅƅɔƈƈɖɗƌƌƍǝəɛƒƒɠɣƕɩɨƙƙƚƛɯɲƞɵooƣƣƥƥʀƨƨʃƪƫƭƭʈuuʊʋƴƴƶƶʒƹƹƺƻƽƽƾƿ",
        "ǀǁǂǃǆǆǆǉǉǉǌǌǌaaiioouuuuuuuuuuǝaaaaææǥǥggkkooooʒʒjǳǳǳggƕƿnnaaææøø",
        "aaaaeeeeiiiioooorrrruuuussttȝȝhhƞȡȣȣȥȥaaeeooooooooyyȴȵȶȷȸȹⱥȼȼƚⱦȿ",
        "ɀɂɂƀʉʌɇɇɉɉɋɋɍɍɏɏ")

    private static let greek = table(
        "ͱͱͳͳʹ͵ͷͷ  ͺͻͼͽ;ϳ    ΄΅α·εηι ο υωιαβγδεζηθικλμνξοπρ στυφχψωιυαεηι",
        "υαβγδεζηθικλμνξοπρσστυφχψωιυουωϗϐϑϒϒϒϕϖϗϙϙϛϛϝϝϟϟϡϡϣϣϥϥϧϧϩϩϫϫϭϭϯϯ",
        "ϰϱϲϳθϵ϶ϸϸϲϻϻϼͻͼͽ")

    private static let cyrillic = table(
        "ееђгєѕііјљњћкиуџабвгдежзииклмнопрстуфхцчшщъыьэюяабвгдежзииклмноп",
        "рстуфхцчшщъыьэюяееђгєѕііјљњћкиуџ")

    private static let latinAdditional = table(
        "aabbbbbbccddddddddddeeeeeeeeeeffgghhhhhhhhhhiiiikkkkkkllllllllmm",
        "mmmmnnnnnnnnoooooooopppprrrrrrrrssssssssssttttttttuuuuuuuuuuvvvv",
        "wwwwwwwwwwxxxxyyzzzzzzhtwyẚſẜẝßẟaaaaaaaaaaaaaaaaaaaaaaaaeeeeeeee",
        "eeeeeeeeiiiioooooooooooooooooooooooouuuuuuuuuuuuuuyyyyyyyyỻỻỽỽỿỿ")
}
