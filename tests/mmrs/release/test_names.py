import pytest

from mmrs.release.names import Tile, is_aggregate, place_of_file, place_of_image, tile_of


@pytest.mark.parametrize(
    ("image", "source", "sensor", "misspelt"),
    [
        ("data/classification/DCSR/images/1.jpg", "dscr", "optical", "DCSR"),
        ("data/classification/UCMerced_split/test/river/river01.jpg", "ucmerced", "optical", None),
        ("data/classification/NWPU-RESISC45_split/train/beach/b.jpg", "resisc45", "optical", None),
        ("data/detection/HRISD_OBB/images/1.jpg", "hrsid", "sar", "HRISD_OBB"),
        ("data/detection/HRSID_HBB/images/1.jpg", "hrsid", "sar", None),
        ("data/detection/FAR1M/images/1.png", "fair1m", "optical", "FAR1M"),
        ("data/detection/SARV2/images/1.jpg", "air-sarship", "sar", None),
        ("data/detection/UCAS/images/1.png", "ucas-aod", "optical", None),
        ("data/detection/NWPUVHR10/images/1.jpg", "nwpu-vhr10", "optical", None),
        ("data/detection/dotav2/images/1.png", "dota", "optical", None),
        ("data/detection/IR_peoplecar/images/1.jpg", "aerial-mancar", "infrared", None),
        ("data/detection/infrared_ship_swir/images/1.jpg", "oceanic-ship", "infrared", None),
        ("data\\detection\\HIT-UAV\\images\\1.jpg", "hit-uav", "infrared", None),
        ("data/caption/syndney_caption/1.tif", "sydney-captions", "optical", "syndney_caption"),
        ("data/caption/Sydney_captions/images/1.tif", "sydney-captions", "optical", None),
        ("data/caption/rstimd_caption/1.tif", "rsitmd", "optical", "rstimd_caption"),
        ("data/VQA/MQVQA_dataset/images/1.jpg", "crsvqa", "optical", None),
        ("data/VQA/rsvqa_high/1.tif", "rsvqa-hr", "optical", None),
        ("data/RSVG/DIOR_RSVG/images/11207.jpg", "dior-rsvg", "optical", None),
        ("data/detection/other/images/1.jpg", None, None, None),
        ("somewhere/1.jpg", None, None, None),
    ],
)
def test_image_paths(image, source, sensor, misspelt):
    place = place_of_image(image)
    assert (place.source, place.sensor, place.misspelt) == (source, sensor, misspelt)


@pytest.mark.parametrize(
    ("path", "family", "source"),
    [
        ("data/json/classification/DSCR_cls.json", "classification", "dscr"),
        ("data/json/detection/SARV2/SARv2_trainnval_hbb.json", "detection", "air-sarship"),
        ("data/json/detection/dior_detection/x.json", "detection", "dior"),
        ("data/json/detection/IR/IR_ship.json", "detection", "sea-shipping"),
        ("data/json/detection/HRISD_OBB/train.json", "detection", "hrsid"),
        ("data/json/caption/caption_syndney.json", "caption", "sydney-captions"),
        ("data/json/VQA/MQVQA_train.json", "vqa", "crsvqa"),
        ("data/json/VQA/new_thing.json", "vqa", None),
        ("data/json/RSVG/rsvg_trainval.json", "rsvg", "dior-rsvg"),
        ("data/json/other.json", None, None),
    ],
)
def test_json_paths(path, family, source):
    place = place_of_file(path)
    assert (place.family, place.source) == (family, source)


def test_aggregates():
    assert is_aggregate("data/json/total.json") and is_aggregate("data/json/detection/dota/DOTA_Total_obb.json")
    assert not is_aggregate("data/json/detection/total/dota.json")


def test_tiles():
    name = "data/detection/VisDrone/images/0000084_01959_d_0000006__0.8__256___0.png"
    assert tile_of(name) == Tile("0000084_01959_d_0000006", "0.8", 256, 0)
    assert tile_of("data/detection/dotav2/images/P0003__1__0___824.png") == Tile("P0003", "1", 0, 824)
    assert tile_of("data/detection/dior/images/11207.jpg") is None
