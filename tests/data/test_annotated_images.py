"""Folders of Pascal VOC and files of COCO: parts, boxes, crowds, and files that cannot be read."""

import json
import shutil
import warnings

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

OBJECT = """<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object>"""


def write(folder, stem, objects, picture=True):
    (folder / "Annotations").mkdir(exist_ok=True, parents=True)
    (folder / "JPEGImages").mkdir(exist_ok=True)
    body = "".join(OBJECT.format(*each) for each in objects)
    size = "<size><width>60</width><height>40</height></size>"
    text = f"<annotation><filename>{stem}.jpg</filename>{size}{body}</annotation>"
    (folder / "Annotations" / f"{stem}.xml").write_text(text)
    if picture:
        pixels = np.zeros((40, 60, 3), "uint8")
        (folder / "JPEGImages" / f"{stem}.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())


@pytest.fixture
def folder(tmp_path):
    for index in range(20):
        objects = [("cat", 0, 1, 2, 11, 12), ("dog", 1, 20, 20, 30, 35)][: index % 3]
        write(tmp_path, f"image_{index:02}", objects)
    return tmp_path


def test_random_parts_are_reproducible(folder):
    parts = mtl.data.from_voc(folder, seed=3)
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 14, "val": 3, "test": 3}
    files = [[row["file"] for row in rows.as_numpy_iterator()] for rows in parts.values()]
    assert len({file for part in files for file in part}) == 20
    again = mtl.data.from_voc(folder, seed=3)
    assert [[row["file"] for row in rows.as_numpy_iterator()] for rows in again.values()] == files
    other = mtl.data.from_voc(folder, seed=4)
    assert [[row["file"] for row in rows.as_numpy_iterator()] for rows in other.values()] != files
    assert mtl.data.labels_of(parts, "labels") == ["cat", "dog"]


def test_listed_parts_and_records(folder):
    lists = folder / "deep" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for part, stems in {"train": range(5), "test": [7, 8], "trainval": range(9)}.items():
        (lists / f"{part}.txt").write_text("".join(f"image_{index:02}\n" for index in stems))
    parts = mtl.data.from_voc(folder)
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 5, "test": 2}
    row = list(parts["test"].as_numpy_iterator())[1]
    assert row["boxes"].tolist() == [[1, 2, 11, 12], [20, 20, 30, 35]]
    assert (row["labels"].tolist(), row["crowds"].tolist()) == ([b"cat", b"dog"], [False, True])
    assert tf.io.decode_jpeg(row["image"]).shape == (40, 60, 3)
    task = mtl.tasks.Detection("animals", ["cat", "dog"], (20, 30), most=2)
    rows = mtl.data.encode_images(parts["test"], mtl.images.ImagePreprocessor((20, 30)), [task])
    labels = [y["animals"].numpy().tolist() for _, y in rows]
    assert labels[1] == [[0.5, 1, 5.5, 6, 0], [10, 10, 15, 17.5, -3]]
    (lists / "test.txt").unlink()  # as in the published VOC of 2012
    assert {part: len(rows) for part, rows in mtl.data.from_voc(folder).items()} == {"train": 5}
    (lists / "test.txt").write_text("nothing\n")
    with pytest.raises(ValueError, match=r"test\.txt lists 'nothing'"):
        mtl.data.from_voc(folder)


def test_names_that_repeat_in_folders(tmp_path):
    for kind in ("cat", "dog"):
        for index in range(3):
            write(tmp_path / kind, f"{index}", [(kind, 0, 1, 2, 11, 12)])
    for path in tmp_path.rglob("*.jpg"):
        path.rename(path.parents[1] / "Annotations" / path.name)
    parts = mtl.data.from_voc(tmp_path)
    rows = [row for records in parts.values() for row in records.as_numpy_iterator()]
    assert sorted(row["labels"][0] for row in rows) == [b"cat"] * 3 + [b"dog"] * 3
    assert all(row["labels"][0] in row["file"] for row in rows)
    (tmp_path / "cat" / "Annotations" / "0.jpg").unlink()
    (tmp_path / "bird").mkdir()
    (tmp_path / "bird" / "0.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"several pictures of its name"):
        mtl.data.from_voc(tmp_path)


def test_bad_boxes_are_reported(folder):
    write(folder, "image_00", [("cat", 0, -4, 2, 11, 12), ("cat", 0, 5, 5, 5, 9)])
    with pytest.warns(UserWarning, match="the first of them in image_00.xml") as warned:
        mtl.data.from_voc(folder)
    messages = sorted(str(warning.message) for warning in warned)
    assert messages[0].startswith("1 boxes had no area and were left out, the first of them in image_00.xml")
    assert messages[1].startswith("1 boxes reached beyond the image and were clipped")


def test_files_that_cannot_be_read(folder, tmp_path_factory):
    write(folder, "alone", [], picture=False)
    with pytest.raises(ValueError, match=r"alone\.xml has no picture of its name"):
        mtl.data.from_voc(folder)
    (folder / "Annotations" / "alone.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match=r"alone\.xml is not a readable annotation"):
        mtl.data.from_voc(folder)
    (folder / "Annotations" / "alone.xml").write_text(
        "<annotation><object><name>cat</name><bndbox><xmin>a</xmin></bndbox></object></annotation>"
    )
    with pytest.raises(ValueError, match=r"alone\.xml is not a readable annotation"):
        mtl.data.from_voc(folder)
    with pytest.raises(ValueError, match=r"`folder` must have annotations"):
        mtl.data.from_voc(tmp_path_factory.mktemp("empty"))


def test_coco(folder):
    pictures = folder / "JPEGImages"
    boxes = [[1, 2, 10, 10], [50, 5, 20, 10], [3, 3, 0, 4]]
    annotations = [
        {"id": i, "image_id": 7, "category_id": 1 + i % 2, "bbox": box, "iscrowd": i} for i, box in enumerate(boxes)
    ]
    images = [{"id": 7, "file_name": "image_03.jpg", "width": 60, "height": 40}, {"id": 9, "file_name": "image_04.jpg"}]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    document["categories"].append({"id": 2, "name": "dog"})
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    with pytest.warns(UserWarning, match="1 boxes had no area"):
        rows = list(mtl.data.from_coco(path, pictures).as_numpy_iterator())
    assert rows[0]["boxes"].tolist() == [[1, 2, 11, 12], [50, 5, 60, 15]]
    assert (rows[0]["labels"].tolist(), rows[0]["crowds"].tolist()) == ([b"cat", b"dog"], [False, True])
    assert rows[1]["boxes"].shape == (0, 4)
    assert tf.io.decode_jpeg(rows[1]["image"]).shape == (40, 60, 3)
    for change, message in (
        ({"categories": []}, "has no category 1"),
        ({"images": []}, "annotations of image 7"),
        ({"annotations": [{}]}, "is not an annotation file of COCO"),
        ({"annotations": [{"image_id": 7, "category_id": 1}]}, "'bbox'"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [1]}]}, "the `bbox`"),
        ({"images": [], "annotations": []}, "lists no images"),
    ):
        path.write_text(json.dumps({**document, **change}))
        with pytest.raises(ValueError, match=message):
            mtl.data.from_coco(path, pictures)
    path.write_text(json.dumps({**document, "images": [{"id": 7, "file_name": "none.jpg"}]}))
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        mtl.data.from_coco(path, pictures)


CSV = """path,kind,x,y,w,h
a.png,cat,5,10,20,20
b.png,,,,,
a.png,dog,-4,0,14,30
a.png,dog,7,7,0,3
b.png,cat,30,10,30,30
b.png,cat,1,1,2,2
"""


@pytest.fixture
def pictures(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(tf.io.encode_png(np.zeros((40, 60, 3), "uint8")).numpy())
    return tmp_path


def test_csv_of_boxes(pictures):
    path = pictures / "boxes.csv"
    path.write_text(CSV)
    columns = {"file": "path", "label": "kind", "box": ["x", "y", "w", "h"], "box_format": "xywh"}
    with pytest.warns(UserWarning, match="1 boxes") as warned:
        rows = list(mtl.data.images_from_csv(path, pictures, **columns).as_numpy_iterator())
    assert len(warned) == 2
    assert [row["file"].decode()[-5:] for row in rows] == ["a.png", "b.png"]
    assert rows[0]["boxes"].tolist() == [[5, 10, 25, 30], [0, 0, 10, 30]]
    assert rows[1]["boxes"].tolist() == [[30, 10, 60, 40], [1, 1, 3, 3]]
    assert [row["labels"].tolist() for row in rows] == [[b"cat", b"dog"], [b"cat", b"cat"]]
    assert not any(row["crowds"].any() for row in rows)
    path.write_text("filename,class,xmin,ymin,xmax,ymax\na.png,cat,.25,.5,.5,1\nc.png,,,,,\n")
    rows = list(mtl.data.images_from_csv(path, pictures, box_format="rel_xyxy").as_numpy_iterator())
    assert rows[0]["boxes"].tolist() == [[15, 20, 30, 40]]
    assert rows[1]["boxes"].shape == (0, 4)
    assert rows[1]["labels"].tolist() == []
    (pictures / "rounded.csv").write_text("filename,class,xmin,ymin,xmax,ymax\na.png,cat,5,10,60.4,30\n")
    with warnings.catch_warnings(action="error"):
        rows = list(mtl.data.images_from_csv(pictures / "rounded.csv", pictures).as_numpy_iterator())
    assert rows[0]["boxes"].tolist() == [[5, 10, 60, 30]]
    with pytest.raises(ValueError, match="lie between 0 and 1.*`box_format`"):
        mtl.data.images_from_csv(path, pictures)
    head = "filename,class,xmin,ymin,xmax,ymax\n"
    for lines, error, message in (
        ("a.png,cat,30,20,10,15\na.png,cat,1,1,9,9\na.png,cat,40,30,10,9\n", ValueError, "2 of 3 boxes.*'xyxy'"),
        ("a.png,cat,1,2,3,\n", ValueError, "row 1 must have a label and four numbers"),
        ("a.png,cat,1,2,3,4\na.png,cat,1,2,3,x\n", ValueError, "row 2 must have a label and four numbers"),
        ("a.png,cat,1,2,3,inf\n", ValueError, "row 1 must have a label and four numbers"),
        ("a.png,,1,2,3,4\n", ValueError, "row 1 must have a label and four numbers"),
        ("d.png,cat,1,2,3,4\n", FileNotFoundError, "lists 'd.png'"),
    ):
        path.write_text(head + lines)
        with pytest.raises(error, match=message):
            mtl.data.images_from_csv(path, pictures)
    with pytest.raises(ValueError, match="'box_0'.*'left'"):
        mtl.data.images_from_csv(path, pictures, box=["left", "ymin", "xmax", "ymax"])
    with pytest.raises(ValueError, match="`box` must be four columns"):
        mtl.data.images_from_csv(path, pictures, box=["xmin"])
    with pytest.raises(ValueError, match="`box_format` must be one of"):
        mtl.data.images_from_csv(path, pictures, box_format="xyyx")


def test_folders_of_masks(pictures):
    for name in ("images/x", "masks/x"):
        (pictures / name).mkdir(parents=True)
    for name in ("a.png", "b.png"):
        (pictures / name).rename(pictures / "images" / "x" / name)
    mask = (np.arange(40 * 60) % 3).reshape(40, 60, 1).astype("uint8")
    path = pictures / "masks" / "x" / "a.png"
    path.write_bytes(tf.io.encode_png(mask).numpy())
    folders = pictures / "images", {"parts": pictures / "masks"}
    (pictures / "images" / ".hidden").mkdir()
    (pictures / "images" / ".hidden" / "a.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 2 pictures have no map for 'parts'"):
        records = mtl.data.from_mask_folders(*folders)
    assert [row["file"].decode()[-5:] for row in records.as_numpy_iterator()] == ["a.png", "b.png"]
    task = mtl.tasks.Segmentation("parts", 3, (40, 60))
    rows = list(mtl.data.encode_images(records, mtl.images.ImagePreprocessor((40, 60)), [task]).as_numpy_iterator())
    np.testing.assert_array_equal(rows[0][1]["parts"], mask[..., 0])
    assert [float(weights["parts"]) for _, _, weights in rows] == [1, 0]
    shutil.copytree(pictures / "masks", pictures / "images" / "masks")
    inside = mtl.data.from_mask_folders(folders[0], {"parts": folders[0] / "masks"})
    assert [row["file"] for row in inside.as_numpy_iterator()] == [row["file"] for row in records.as_numpy_iterator()]
    shutil.rmtree(folders[0] / "masks")
    with pytest.raises(ValueError, match="must not name the records' fields"):
        mtl.data.from_mask_folders(folders[0], {"image": folders[1]["parts"]})
    path.rename(path.with_stem("d"))
    with pytest.raises(ValueError, match="d.png has no picture x/d in"):
        mtl.data.from_mask_folders(*folders)
    path.with_stem("d").unlink()
    path.write_bytes(tf.io.encode_png(mask[1:]).numpy())
    with pytest.raises(ValueError, match=r"a.png must have the size of .*\(40, 60\); received \(39, 60\)"):
        mtl.data.from_mask_folders(*folders)
    path.with_suffix(".jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="has both a.jpg and a.png"):
        mtl.data.from_mask_folders(*folders)
    (pictures / "empty").mkdir()
    with pytest.raises(ValueError, match="has no pictures"):
        mtl.data.from_mask_folders(pictures / "empty", {})


def test_masks_beside_boxes(pictures):
    (pictures / "masks").mkdir()
    mask = (np.arange(40 * 60) % 3).reshape(40, 60, 1).astype("uint8")
    path = pictures / "masks" / "b.png"
    path.write_bytes(tf.io.encode_png(mask).numpy())
    (pictures / "boxes.csv").write_text("filename,class,xmin,ymin,xmax,ymax\nc.png,cat,1,1,9,9\nb.png,cat,2,2,8,8\n")
    records = mtl.data.images_from_csv(pictures / "boxes.csv", pictures)
    masks = {"parts": pictures / "masks"}
    with pytest.warns(UserWarning, match="1 of 2 pictures have no map"):
        rows = list(mtl.data.add_masks(records, masks).as_numpy_iterator())  # in the order of the boxes
    assert [(row["file"].decode()[-5:], row["parts"]) for row in rows] == [("c.png", b""), ("b.png", path.read_bytes())]
    with pytest.raises(ValueError, match=r"must not name the records' fields, received \['boxes'\]"):
        mtl.data.add_masks(records, {"boxes": pictures / "masks"})
    path.rename(path.with_stem("a"))
    with pytest.raises(ValueError, match=r"a\.png has no picture of its name among the records"):
        mtl.data.add_masks(records, masks)
    path.write_bytes(tf.io.encode_png(mask[1:]).numpy())
    path.with_stem("a").unlink()
    with pytest.raises(ValueError, match=r"b\.png must have the size of"):
        mtl.data.add_masks(records, masks)
    path.with_suffix(".jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="must have one picture named 'b'"):
        mtl.data.add_masks(records, masks)
    path.unlink()
    path.with_suffix(".jpg").unlink()
    with pytest.raises(ValueError, match="has no pictures"):
        mtl.data.add_masks(records, masks)


def test_pictures_that_cannot_be_read(folder):
    path = folder / "JPEGImages" / "image_07.jpg"
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"not a picture" * 20):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"image_07\.jpg cannot be read as a picture"):
            mtl.data.from_voc(folder)
    path.write_bytes(whole + b"appended by the camera" * 9)  # such as the film of a moving picture
    assert len(mtl.data.from_voc(folder)["train"]) == 14
    wide = tf.io.encode_png(np.zeros((40, 80, 3), "uint8")).numpy()
    path.unlink()
    path.with_suffix(".png").write_bytes(wide[:-12])
    with pytest.raises(ValueError, match=r"image_07\.png cannot be read"):
        mtl.data.from_voc(folder)
    path.with_suffix(".png").write_bytes(wide)
    with pytest.warns(UserWarning, match=r"1 annotations give another size than the picture has.*image_07\.xml"):
        mtl.data.from_voc(folder)


def test_names_lists_and_missing_ones():
    png = tf.io.encode_png(np.zeros((8, 8, 3), "uint8")).numpy()
    records = tf.data.Dataset.from_tensor_slices(
        {"image": [png] * 2, "tags": [["a", "b"], ["c", ""]], "kind": ["", "y"]}
    )
    tasks = [mtl.tasks.MultiLabel("tags", labels=["a", "b", "c"]), mtl.tasks.Classification("kind", ["x", "y"])]
    rows = mtl.data.encode_images(records, mtl.images.ImagePreprocessor((8, 8)), tasks)
    assert [y["tags"].numpy().tolist() for _, y, _ in rows] == [[1, 1, 0], [0, 0, 1]]
    assert [weight["kind"].numpy().tolist() for _, _, weight in rows] == [0, 1]
    assert all("tags" not in weight for _, _, weight in rows)
    weighted = records.map(lambda row: {**row, "weight": {"tags": tf.cast(row["kind"] == "y", tf.float32)}})
    rows = mtl.data.encode_images(weighted, mtl.images.ImagePreprocessor((8, 8)), tasks, weight="weight")
    assert [weight["tags"].numpy().tolist() for _, _, weight in rows] == [0, 1]
    wrong = records.map(lambda row: {**row, "weight": {"tag": 1.0}})
    with pytest.raises(ValueError, match="'tag'.*'tags'"):
        mtl.data.encode_images(wrong, mtl.images.ImagePreprocessor((8, 8)), tasks, weight="weight")


def test_unknown_classes_and_missing_fields(folder):
    records = mtl.data.from_voc(folder)["train"]
    preprocessor = mtl.images.ImagePreprocessor((20, 30))
    task = mtl.tasks.Detection("animals", ["cat"], (20, 30), most=2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)task .*animals.* must be among.*dog.*\.jpg"):
        list(mtl.data.encode_images(records, preprocessor, [task]))
    few = mtl.tasks.Detection("animals", ["cat", "dog"], (20, 30), most=1)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)more labelled boxes than `most`.*\.jpg"):
        list(mtl.data.encode_images(records, preprocessor, [few]))
    with pytest.raises(ValueError, match="must have the field 'kind' for task 'kind'"):
        mtl.data.encode_images(records, preprocessor, [mtl.tasks.Classification("kind", ["x", "y"])])
    with pytest.raises(ValueError, match="`records` must be dicts"):
        mtl.data.encode_images(tf.data.Dataset.range(3), preprocessor, [task])


@pytest.mark.parametrize("name", ["voc/2007", "coco/2017", "oxford_iiit_pet"])
def test_structures_of_tfds(name):
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=3):
        records = mtl.data.images_from_tfds(name, "train")
        rows = list(records.as_numpy_iterator())
    assert len(rows) == 3
    assert all(row["image"].dtype == np.uint8 for row in rows)
    if name != "oxford_iiit_pet":  # mocked boxes are random numbers, and not as many as labels
        assert all(row["boxes"].shape[1:] == (4,) for row in rows)
        assert all(isinstance(label, bytes) for row in rows for label in row["labels"])
        assert all(row["crowds"].dtype == bool for row in rows)
    if name == "oxford_iiit_pet":
        assert records.element_spec["segmentation_mask"].shape[-1] == 1
        task = mtl.tasks.Segmentation("mask", 4, (16, 24))

        def fitted(row):  # mocked masks are not of their images' sizes
            mask = tf.image.resize(row["segmentation_mask"], tf.shape(row["image"])[:2], "nearest")
            return {"image": row["image"], "mask": mask}

        x, y = next(iter(mtl.data.encode_images(records.map(fitted), mtl.images.ImagePreprocessor((16, 24)), [task])))
        assert x.shape == (16, 24, 3)
        assert y["mask"].shape == (16, 24, 1)


def test_boxes_of_a_local_builder(tmp_path):
    import tensorflow_datasets as tfds

    class Pictures(tfds.core.GeneratorBasedBuilder):
        """Two pictures with boxes."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            parts = {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(names=["cat", "dog"])}
            features = {"image": tfds.features.Image(), "objects": tfds.features.Sequence(parts)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), description="")

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            box = tfds.features.BBox(ymin=0.25, xmin=0.5, ymax=0.75, xmax=1.0)
            for key, objects in enumerate(([{"bbox": box, "label": "dog"}], [])):
                yield key, {"image": np.zeros((20, 40, 3), "uint8"), "objects": objects}

    Pictures(data_dir=tmp_path).download_and_prepare()
    records = mtl.data.images_from_tfds("pictures", "train", data_dir=tmp_path, download=False)
    rows = sorted(records.as_numpy_iterator(), key=lambda row: -len(row["labels"]))
    assert rows[0]["boxes"].tolist() == [[20, 5, 40, 15]]
    assert (rows[0]["labels"].tolist(), rows[0]["crowds"].tolist()) == ([b"dog"], [False])
    assert rows[1]["boxes"].shape == (0, 4)
    with pytest.raises(RuntimeError, match="TFDS cannot load"):
        mtl.data.images_from_tfds("nothing_of_this_name", "train", download=False)
    with tfds.testing.mock_data(num_examples=1), pytest.raises(ValueError, match="with an image"):
        mtl.data.images_from_tfds("ag_news_subset", "train")
