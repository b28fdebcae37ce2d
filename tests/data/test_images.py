"""Every kind of image file reads as upright RGB, or says in one line why not."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gazehound.data.images import IMAGE_SUFFIXES, decode_image, image_size, read_image
from gazehound.errors import ImageError

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (7, 11, 3), dtype=np.uint8)
GREY = PHOTO[..., 0]


def saved(folder, image, name, **options):
    path = folder / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp", "tga"])
def test_lossless_rgb_is_returned_as_stored(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path, Image.fromarray(PHOTO), f"a.{suffix}", **options)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, PHOTO)
    assert image_size(path) == (7, 11)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - {".mpo", ".pbm", ".pgm"}))
def test_every_listed_suffix_can_be_read(tmp_path, suffix):
    Image.init()
    if suffix in (".jfif", ".jpe"):
        path = saved(tmp_path, Image.fromarray(PHOTO), f"a{suffix}", format="JPEG")
    else:
        path = saved(tmp_path, Image.fromarray(PHOTO), f"a{suffix}")
    assert read_image(path).shape == (7, 11, 3)


def test_grey_and_one_bit(tmp_path):
    np.testing.assert_array_equal(
        read_image(saved(tmp_path, Image.fromarray(GREY), "grey.png")), np.stack([GREY] * 3, -1)
    )
    bits = GREY > 127
    np.testing.assert_array_equal(
        read_image(saved(tmp_path, Image.fromarray(bits), "bits.png"))[..., 1], bits * np.uint8(255)
    )


def test_palette(tmp_path):
    two = np.where(GREY[..., None] > 127, np.uint8([200, 10, 30]), np.uint8([0, 90, 255]))
    path = saved(tmp_path, Image.fromarray(two).quantize(2), "p.png")
    with Image.open(path) as stored:
        assert stored.mode == "P"
    np.testing.assert_array_equal(read_image(path), two)


def over_white(colour, alpha):
    return (colour * (alpha / 255.0) + 255 * (1 - alpha / 255.0)).round()


def test_alpha_is_composited_over_white(tmp_path):
    alpha = RNG.integers(0, 256, (7, 11, 1), dtype=np.uint8)
    rgba = np.concatenate([PHOTO, alpha], -1)
    got = read_image(saved(tmp_path, Image.fromarray(rgba), "rgba.png"))
    np.testing.assert_allclose(got, over_white(PHOTO, alpha), atol=1)
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha[..., 0])])
    got = read_image(saved(tmp_path, la, "la.png"))
    np.testing.assert_allclose(got, over_white(np.stack([GREY] * 3, -1), alpha), atol=1)


def test_a_transparent_colour_counts_as_alpha(tmp_path):
    image = Image.fromarray(np.zeros((2, 2, 3), np.uint8))
    path = saved(tmp_path, image, "key.png", transparency=(0, 0, 0))
    assert (read_image(path) == 255).all()


def test_cmyk_with_and_without_adobe_inversion(tmp_path):
    flat = np.broadcast_to(np.uint8([220, 40, 90]), (16, 16, 3))
    cmyk = Image.fromarray(np.ascontiguousarray(flat)).convert("CMYK")
    path = saved(tmp_path, cmyk, "cmyk.jpg", quality=100)
    np.testing.assert_allclose(read_image(path), flat, atol=3)
    np.testing.assert_allclose(read_image(saved(tmp_path, cmyk, "c.tif")), flat, atol=1)
    # The same inks without Adobe's marker: the stored values are not inverted.
    inverted = Image.fromarray(255 - np.asarray(cmyk), mode="CMYK")
    stored = io.BytesIO()
    inverted.save(stored, "JPEG", quality=100)
    data = stored.getvalue()
    start = data.index(b"\xff\xee")
    length = struct.unpack(">H", data[start + 2 : start + 4])[0]
    plain = data[:start] + data[start + 2 + length :]
    np.testing.assert_allclose(decode_image(plain), flat, atol=3)


def test_16_bit_grey(tmp_path):
    deep = RNG.integers(0, 65536, (5, 6), dtype=np.uint16)
    for name in ("g.png", "g.tif", "g.pgm"):
        path = saved(tmp_path, Image.fromarray(deep), name)
        np.testing.assert_array_equal(read_image(path)[..., 0], deep >> 8, err_msg=name)


def png_16_bit_rgb(pixels):
    """A 16-bit RGB PNG, written by hand (Pillow writes none)."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_16_bit_colour():
    deep = RNG.integers(0, 65536, (5, 6, 3), dtype=np.uint16)
    np.testing.assert_array_equal(decode_image(png_16_bit_rgb(deep)), deep >> 8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0, 0.5, 1.0]], [[0, 128, 255]]),
        ([[0.0, 100.0, 255.0]], [[0, 100, 255]]),
        ([[-1.0, 0.0, 1.0]], [[0, 128, 255]]),
        ([[0.0, 1000.0, 2000.0]], [[0, 128, 255]]),
        ([[np.nan, 0.0, 1.0]], [[0, 0, 255]]),
        ([[-3.0, -3.0, -3.0]], [[0, 0, 0]]),
    ],
)
def test_float_tiff(tmp_path, values, expected):
    path = saved(tmp_path, Image.fromarray(np.float32(values)), "f.tif")
    np.testing.assert_array_equal(read_image(path)[..., 2], expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([[0, 7, 255]], [[0, 7, 255]]), ([[0, 65535, 256]], [[0, 255, 1]]),
     ([[-100, 20, 100]], [[0, 153, 255]])],
)  # fmt: skip
def test_32_bit_integer_tiff(tmp_path, values, expected):
    path = saved(tmp_path, Image.fromarray(np.int32(values)), "i.tif")
    np.testing.assert_array_equal(read_image(path)[..., 0], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["o.png", "o.tif", "o.jpg"])
def test_orientation_is_applied(tmp_path, orientation, name):
    """The stored pixels are the upright image, un-turned as the EXIF standard says."""
    upright = np.kron(PHOTO[:2, :3], np.ones((16, 16, 1), np.uint8))
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(
        tmp_path, Image.fromarray(np.ascontiguousarray(undo(upright))), name,
        exif=exif, **({"quality": 100, "subsampling": 0} if name == "o.jpg" else {}),
    )  # fmt: skip
    assert image_size(path) == upright.shape[:2]
    got = read_image(path)
    np.testing.assert_allclose(got.astype(int), upright, atol=4 if name == "o.jpg" else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_cost_the_picture(tmp_path):
    path = saved(tmp_path, Image.fromarray(PHOTO), "e.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_image(path).shape == PHOTO.shape
    assert image_size(path) == (7, 11)


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(np.full((4, 4, 3), v, np.uint8)) for v in (10, 200)]
    for name in ("a.gif", "a.webp"):
        path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:],
                     **({"lossless": True} if name == "a.webp" else {}))  # fmt: skip
        assert (read_image(path) == 10).all(), name


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes(tmp_path, shape):
    path = saved(tmp_path, Image.new("RGB", shape[::-1], (1, 2, 3)), "x.png")
    assert image_size(path) == shape
    image = read_image(path)
    assert image.shape == (*shape, 3)
    assert (image == [1, 2, 3]).all()


def bomb():
    data = bytearray(png_16_bit_rgb(np.zeros((1, 1, 3), np.uint16)))
    data[16:24] = struct.pack(">II", 60000, 60000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def jpeg():
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello, I am a text file\n", "not an image"),
        (jpeg()[:20], "cannot be read"),
        (jpeg()[:-300], "truncated"),
        (png_16_bit_rgb(np.ones((9, 9, 3), np.uint16))[:50], "truncated|cannot be read"),
        (bomb(), "too many pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
    ids=["empty", "text", "header-only", "truncated-jpeg", "truncated-png", "bomb", "postscript"],
)
def test_unreadable_files_say_why_in_one_line(tmp_path, data, reason):
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    with pytest.raises(ImageError, match=reason):
        decode_image(data)


@pytest.mark.parametrize("read", [read_image, image_size])
def test_missing_file_and_folder(tmp_path, read):
    with pytest.raises(ImageError, match="no such file"):
        read(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        read(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_never_escapes_as_another_error():
    whole = bytearray(jpeg())
    for _ in range(60):
        data = bytearray(whole)
        for place in RNG.integers(2, len(data), 8):
            data[place] = RNG.integers(0, 256)
        with contextlib.suppress(ImageError):
            assert decode_image(bytes(data)).ndim == 3


def test_real_photographs_match_pillow(real_data):
    from PIL import ImageOps

    for path in sorted((real_data / "bccd").rglob("*.jpg"))[:5]:
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        np.testing.assert_array_equal(read_image(path), expected)
        assert image_size(path) == expected.shape[:2]
