"""Reading a CT from NIfTI, NRRD or a folder of DICOM, and writing a CT or a label beside it as NIfTI."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.nifti1 import Nifti1Extension
from nibabel.spatialimages import HeaderDataError

from lib.images.ct import CTImage
from lib.images.dicom import read_dicom_folder, read_dicom_series
from lib.images.facts import PatientFacts
from lib.images.faults import refusing_passing_faults
from lib.images.itk import ITK_ERRORS, affine_of, array_of, image_like, is_out_of_memory
from lib.refusals import BadImage, Refusal

NIFTI_SUFFIXES = (".nii.gz", ".nii")
NRRD_SUFFIXES = (".nrrd",)
IMAGE_SUFFIXES = NIFTI_SUFFIXES + NRRD_SUFFIXES
PHANTOM_MARK = "digital phantom"
"""With what a NIfTI's ``descrip`` begins when nobody was scanned."""
_WARNING_MARK = b"Sarcopenia Label warns: "
"""With what a comment in a NIfTI begins that was a warning of the image it was made from."""

_UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    isal_zlib.error,
    ImageFileError,
    HeaderDataError,
    ValueError,
    OverflowError,
)


def image_suffix(name: str) -> str:
    """The suffix of an image file name that this project reads, in lower case, or ``""``."""
    return next((suffix for suffix in IMAGE_SUFFIXES if name.lower().endswith(suffix)), "")


def read_ct(path: str | Path) -> CTImage:
    """Read a CT and check that it is one.

    Args:
        path: a NIfTI (2-D, a single slice or a volume) or NRRD file, or a folder with one DICOM series.

    Returns:
        Hounsfield units with their affine; facts of the patient and warnings where the format carries them.

    Raises:
        BadImage: the file is damaged, no image, not three-dimensional, holds NaN, or no Hounsfield units.
        Refusal: 404 where there is none; 503 where memory ran out or the system does not let it be read.
    """
    path = Path(path)
    with refusing_passing_faults(path.name):
        if path.is_dir():
            return _checked(read_dicom_folder(path), path.name)
        array, affine, file_shape = read_volume(path)
        facts = PatientFacts(phantom=True if is_marked_phantom(path) else None)
        hu = _as_hounsfield(array, path.name)
        image = CTImage(hu=hu, affine=affine, file_shape=file_shape, facts=facts, warnings=_kept_warnings(path))
        return _checked(image, path.name)


def read_ct_series(files: list[Path], warnings: tuple[str, ...] = ()) -> CTImage:
    """Read the DICOM files of one series, as :func:`read_ct` reads a folder that holds no other.

    Args:
        files: as :func:`lib.images.dicom.ct_series` gives them.
        warnings: as it gives them.

    Raises:
        Refusal: as there.
    """
    folder = files[0].parent.name
    with refusing_passing_faults(folder):
        return _checked(read_dicom_series(files, warnings), folder)


def read_volume(path: Path) -> tuple[npt.NDArray, npt.NDArray[np.float64], tuple[int, ...]]:
    """Read the voxels of a NIfTI or NRRD file without judging what they mean.

    Returns:
        The array with three axes in file order, the RAS+ affine (mm), and the shape in the file.

    Raises:
        BadImage: the file is empty, damaged, of an unknown format, or not two- or three-dimensional.
        Refusal: 404 where there is none; 503 where memory ran out or the system does not let it be read.
    """
    with refusing_passing_faults(path.name):
        if not path.is_file():
            raise Refusal(f"There is no file {path.name}.", status=404)
        if path.stat().st_size == 0:
            raise BadImage(f"{path.name} is empty (0 bytes).")
        path.open("rb").close()  # the libraries do not tell a file that may not be read from a damaged one
        suffix = image_suffix(path.name)
        if suffix in NIFTI_SUFFIXES:
            array, affine = _read_nifti(path)
        elif suffix in NRRD_SUFFIXES:
            array, affine = _read_nrrd(path)
        else:
            raise BadImage(f"{path.name} is none of the formats that are read: {', '.join(IMAGE_SUFFIXES)} or DICOM.")
    return array.reshape(_three_axes(array.shape, path.name)), affine, array.shape


def _three_axes(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """The shape of a volume without axes of one behind it, or of a single slice with one.

    Raises:
        BadImage: it is neither.
    """
    axes = list(shape)
    while len(axes) > 3 and axes[-1] == 1:
        axes.pop()
    if len(axes) == 2:
        axes.append(1)
    if len(axes) != 3 or 0 in axes:
        raise BadImage(f"{name} has the shape {shape}; a volume or a single slice was expected.")
    return axes[0], axes[1], axes[2]


def write_ct(path: str | Path, image: CTImage) -> None:
    """Write a CT as NIfTI, with its warnings and the mark of a phantom where it is one; other facts are not kept.

    Args:
        path: where to, ``.nii.gz`` or ``.nii``.
        image: the CT.

    Raises:
        ValueError: another suffix.
    """
    path = Path(path)
    if image_suffix(path.name) not in NIFTI_SUFFIXES:
        raise ValueError(f"unknown suffix of {path.name}")
    _save(ct_nifti(image), path)


def compressed(nifti: nib.Nifti1Image) -> bytes:
    """What a ``.nii.gz`` of it holds; the same bytes at any time."""
    return igzip.compress(nifti.to_bytes(), compresslevel=1, mtime=0)  # type: ignore[no-any-return]


def _save(nifti: nib.Nifti1Image, path: Path) -> None:
    path.write_bytes(compressed(nifti) if path.suffix.lower() == ".gz" else nifti.to_bytes())


def ct_nifti(image: CTImage) -> nib.Nifti1Image:
    """A CT as NIfTI in memory, with its warnings and the mark of a phantom where it is one."""
    nifti = nib.Nifti1Image(image.hu.reshape(image.file_shape), image.affine)
    nifti.header.set_xyzt_units("mm")
    if image.facts.phantom:
        nifti.header["descrip"] = f"{PHANTOM_MARK}, not a patient"
    for warning in image.warnings:
        nifti.header.extensions.append(Nifti1Extension("comment", _WARNING_MARK + warning.encode()))
    return nifti


def write_label(path: str | Path, label: npt.NDArray, image: CTImage) -> None:
    """Write a label in the geometry and file shape of its image.

    Args:
        path: where to, ``.nii.gz``, ``.nii`` or ``.nrrd`` (uncompressed: OHIF reads the bytes behind the header).
        label: integers, three axes, in the voxel order of ``image``.
        image: the CT that the label lies on.

    Raises:
        ValueError: the label's shape is not the image's, or the suffix is unknown.
    """
    path = Path(path)
    if label.shape != image.shape:
        raise ValueError(f"label of shape {label.shape} for an image of shape {image.shape}")
    if image_suffix(path.name) in NIFTI_SUFFIXES:
        nifti = nib.Nifti1Image(label.reshape(image.file_shape), image.affine)
        nifti.header.set_xyzt_units("mm")
        _save(nifti, path)
    elif image_suffix(path.name) in NRRD_SUFFIXES:
        sitk.WriteImage(image_like(label, image.affine), str(path), useCompression=False)
    else:
        raise ValueError(f"unknown suffix of {path.name}")


def _read_nifti(path: Path) -> tuple[npt.NDArray, npt.NDArray[np.float64]]:
    try:
        nifti: Any = nib.load(path)
        _three_axes(nifti.shape, path.name)  # a perfusion CT of many points in time may be larger than the memory
        return _stored_voxels(path, nifti), np.asarray(nifti.affine, dtype=np.float64)
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadImage(
            f"{path.name} cannot be read as NIfTI; it is damaged or cut short ({_short(error, path)})."
        ) from error


def _stored_voxels(path: Path, nifti: Any) -> npt.NDArray:
    """The voxels of a NIfTI; compressed ones by ISA-L, in half the time of zlib."""
    if path.suffix.lower() != ".gz":
        return _voxels(nifti.dataobj)
    with igzip.open(path) as stream:
        holder = FileHolder(path.name, stream)
        return _voxels(type(nifti).from_file_map({"header": holder, "image": holder}).dataobj)


def _voxels(stored: Any) -> npt.NDArray:
    """What a NIfTI holds; whole numbers that are only shifted stay whole, in a quarter of the time and memory."""
    intercept = float(getattr(stored, "inter", 0.0))
    if intercept and getattr(stored, "slope", None) == 1 and intercept.is_integer() and stored.dtype.kind in "iu":
        return stored.get_unscaled().astype(np.int32) + np.int32(intercept)  # type: ignore[no-any-return]
    return np.asanyarray(stored)


def is_marked_phantom(path: Path) -> bool:
    """Whether a file says that it is a digital phantom; only the header is read."""
    if image_suffix(path.name) not in NIFTI_SUFFIXES:
        return False
    header: Any = nib.load(path).header
    return bytes(header["descrip"].item()).startswith(PHANTOM_MARK.encode())


def _kept_warnings(path: Path) -> tuple[str, ...]:
    """The warnings of the image that a NIfTI was made from."""
    if image_suffix(path.name) not in NIFTI_SUFFIXES:
        return ()
    header: Any = nib.load(path).header
    comments = [bytes(each.content) for each in header.extensions]
    kept = [each.removeprefix(_WARNING_MARK) for each in comments if each.startswith(_WARNING_MARK)]
    return tuple(each.rstrip(b"\0").decode(errors="replace") for each in kept)


def _read_nrrd(path: Path) -> tuple[npt.NDArray, npt.NDArray[np.float64]]:
    try:
        image = sitk.ReadImage(str(path))
    except ITK_ERRORS as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        raise BadImage(f"{path.name} cannot be read as NRRD; it is damaged or cut short.") from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise BadImage(f"{path.name} has {image.GetNumberOfComponentsPerPixel()} values per voxel; a CT has one.")
    return array_of(image), affine_of(image)


def _as_hounsfield(array: npt.NDArray, name: str) -> npt.NDArray:
    if np.iscomplexobj(array) or array.dtype.kind not in "iufb":
        raise BadImage(f"{name} holds {array.dtype} voxels; a CT holds plain numbers.")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise BadImage(f"{name} holds NaN or infinite voxels; those are no Hounsfield units.")
        return array
    if array.dtype == np.int16:
        return array
    return np.clip(array, -32768, 32767).astype(np.int16)


def _checked(image: CTImage, name: str) -> CTImage:
    """Refuse an image that cannot be in Hounsfield units, such as an MR or a CT without its rescale intercept."""
    sample = image.hu[
        :: max(1, image.shape[0] // 128), :: max(1, image.shape[1] // 128), :: max(1, image.shape[2] // 64)
    ]
    if sample.min() == sample.max():
        raise BadImage(f"{name} holds one value only ({sample.min()}); that is no CT.")
    fat_or_air = float(np.mean(sample < -30))
    if fat_or_air < 0.005:
        lowest = "its lowest value is" if sample.min() >= 0 else "nearly nothing lies below fat; the lowest value is"
        raise BadImage(
            f"{name} is not in Hounsfield units ({lowest} {float(sample.min()):.0f}): an MR, or a CT whose rescale "
            "intercept was lost."
        )
    return image


def _short(error: Exception, path: Path) -> str:
    """What a library says of a file, without the folder that it lies in."""
    return " ".join(str(error).replace(str(path), path.name).split())[:120] or type(error).__name__
