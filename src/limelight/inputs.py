"""The model's arguments as the user passed them, and which of them is the batch of images."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limelight.errors import InputError
from limelight.input_images import (
    NO_BATCH,
    check_images,
    first_images,
    is_frames,
    note_on_images,
    stacked_images,
)
from limelight.packed_inputs import find_packing, places_in_sentence, places_of_pictures
from limelight.packing import KnownOrder, Packing, patches_on

ImageForm = Literal["tensor", "list", "frames", "packed"]

#: A batch of images `[B, C, H, W]`; or a tuple of the model's arguments, or a dict of its keyword
#: arguments; or a list of images `[C, H, W]` of one size, as detectors take it.
Inputs = Tensor | list[Tensor] | tuple[Any, ...] | Mapping[str, Any]


def tensors(tree: object) -> list[Tensor]:
    """Return the tensors in a nest of tuples, lists and dicts, in order."""
    if isinstance(tree, Tensor):  # these come first, as they are the most common by far
        return [tree]
    if type(tree) is tuple:
        return [tensor for part in tree for tensor in tensors(part)]
    if tree is None or isinstance(tree, int | float | str):
        return []
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def substitute_first(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a nest of tuples, lists and dicts with its first tensor changed.

    A layer's output may hold several tensors; limelight cuts at the first.
    """
    if isinstance(tree, Tensor):
        return change(tree)
    leaves, spec = pytree.tree_flatten(tree)
    position = next((i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)), None)
    if position is None:
        return tree
    leaves[position] = change(leaves[position])
    return pytree.tree_unflatten(leaves, spec)


def as_tensor(value: Any) -> Tensor:
    """Return a tensor as a plain one, and anything else as a tensor on the CPU.

    `torch.as_tensor` would put either on the default device.
    """
    return as_plain(value) if isinstance(value, Tensor) else torch.as_tensor(value, device="cpu")


def as_plain(tensor: Tensor) -> Tensor:
    """Return a tensor of a class derived from Tensor as a plain one, with the same memory.

    Those of MONAI, fastai and torchvision add names and metadata, and record steps of their own in
    the graph. A class that says how it is computed with (a sharded or quantised tensor) stays.
    """
    kind = type(tensor)
    if kind is Tensor or kind is nn.Parameter:  # these are the most common by far
        return tensor
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return tensor
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.as_subclass(Tensor)


def map_tensors(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a model's output with every tensor changed; an output object is copied shallowly."""

    def leaf(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        if not tensors(list(getattr(value, "__dict__", {}).values())):
            return value
        copied = copy.copy(value)
        vars(copied).update(pytree.tree_map_only(Tensor, change, vars(value)))
        return copied

    return pytree.tree_map(leaf, output)


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """The model's arguments.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments.
        image: `[B, C, *image]`, the first floating point tensor with three axes or more. Video
            `[B, T, C, H, W]` is kept as `[B, C, T, H, W]`.
        at: The number of that tensor: its place, from 0, among the tensors in `args` and `kwargs`.
        unbatched: The numbers of tensors that are not one per image although their first axis is B:
            two prompts for two images, say, of which each image needs both.
        form: How the model takes the images: as one tensor, as a list of `[C, *image]`, for video
            as frames `[B, T, C, H, W]`, or packed: in pieces, which are kept as a picture, with a
            grid of patches `[B, C, h, w]` or a row of crops `[B, C, T, H, W]`.
        packing: How they are packed, and all pieces; None for the other forms.
        only: Whether the picture was asked for, so that no other of the inputs takes its place.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    image: Tensor
    at: int = 0
    form: ImageForm = "tensor"
    unbatched: frozenset[int] = frozenset()
    packing: Packing | None = None
    only: bool = False

    @classmethod
    def of(cls, inputs: Inputs, picture: int | None = None) -> ModelInputs:
        """Read the inputs.

        1. Read one tensor of images as it is; this is the common case, and has to be fast.
        2. Read the positional and keyword arguments, with plain tensors that can be saved for a
           backward.
        3. Find the images among them, and check that they are usable.
        4. Unpack packed pictures, and lay video out as `[B, C, T, H, W]`.

        Args:
            inputs: The model's arguments.
            picture: The number, from 0, of the picture that maps are to lie on, of several in the
                inputs; None for the first, or for all in one map if they come as one tensor.

        Raises:
            InputError: The inputs hold no tensor, or images that are empty or not finite; there is
                no such picture; or the pictures of a batch are packed differently.
        """
        form: ImageForm = "list" if isinstance(inputs, list) else "tensor"
        if isinstance(inputs, list):
            inputs = (stacked_images(inputs),)
        # 1. A tensor of images.
        if isinstance(inputs, Tensor) and not inputs.is_inference() and not is_frames(inputs):
            inputs = as_plain(inputs)
            image = inputs.detach()
            check_images(image)
            return cls((inputs,), {}, image)._of_several(picture)
        # 2. The arguments.
        if isinstance(inputs, Mapping):
            args, kwargs = (), dict(inputs)
        elif isinstance(inputs, Tensor | tuple):
            args, kwargs = inputs if isinstance(inputs, tuple) else (inputs,), {}
        else:
            raise InputError(
                f"The inputs are a {type(inputs).__name__}; a tensor [B, C, H, W] was expected, or "
                "a list of images, or a tuple or dict of what the model takes. "
                "limelight.load_model(...).preprocess makes a tensor from a photo."
            )
        # A tensor made in inference mode cannot be saved for a backward; its clone can.
        with torch.inference_mode(False), torch.no_grad():
            args, kwargs = pytree.tree_map_only(
                Tensor, lambda t: as_plain(t.clone() if t.is_inference() else t), (args, kwargs)
            )
        # 3. The images.
        all_tensors = tensors((args, kwargs))
        if not all_tensors:
            raise InputError(NO_BATCH)
        at = first_images(all_tensors)
        images = all_tensors[at]
        check_images(images)
        read = cls(args, kwargs, images.detach(), at, form)
        # 4. Packed pictures, and video.
        packing = find_packing(images, all_tensors[:at] + all_tensors[at + 1 :], picture)
        if packing is not None:
            return read._unpacked(packing)
        read = read._of_several(picture)
        if not is_frames(images):
            return read
        read = read.on(images.movedim(1, 2))
        return replace(read, image=read.image.detach(), form="frames")

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments to call the model with."""
        if self.form == "tensor":
            return self.args, self.kwargs

        def in_form(number: int, tensor: Tensor) -> Any:
            if number != self.at:
                return tensor
            if self.form == "list":
                return list(tensor)
            if self.packing is not None:
                return self.packing.pack(tensor)
            return tensor.movedim(2, 1).contiguous()  # networks view it

        return self._changed(in_form)

    def on_grid(self, grid: Sequence[int] | None) -> ModelInputs:
        """Return the inputs with packed patches `[B, N, C]` laid on a grid of two axes or more.

        Other inputs, and patches without a grid, stay as they are.
        """
        if grid is None or len(grid) < 2:
            return self
        patches = self.image if self.packing is None else self.packing.pieces
        unread = self.packing is None and self.form == "tensor"
        read_otherwise = self.packing is not None and self.packing.lead == (1, patches.shape[1])
        if patches.ndim != 3 or not (unread or read_otherwise):
            return self
        packing = patches_on(patches, grid)
        return self if packing is None else self._unpacked(packing)

    def _unpacked(self, packing: Packing) -> ModelInputs:
        """Return the inputs with the picture of a packing in place of its pieces."""
        return replace(self.on(packing.unpack()), form="packed", packing=packing)

    def _of_several(self, picture: int | None) -> ModelInputs:
        """Return the inputs with the picture of this number, of several tensors.

        Raises:
            InputError: There is no such picture.
        """
        if picture is None:
            return self
        pictures = self.pictures
        if not 0 <= picture < len(pictures):
            raise InputError(
                f"picture is {picture}, and the inputs have {len(pictures)} tensors that can be "
                f"pictures; a number from 0 to {len(pictures) - 1} was expected."
            )
        return replace(self.of_picture(pictures[picture]), only=True)

    def of_picture(self, number: int) -> ModelInputs:
        """Return the inputs with another of their pictures, by the number of its tensor."""
        return replace(self, at=number, image=tensors((self.args, self.kwargs))[number].detach())

    @property
    def pictures(self) -> list[int]:
        """The numbers of the tensors that can be pictures: like the first, of whatever size."""
        if self.form != "tensor" or self.only:
            return [self.at]
        like = (self.image.ndim, self.batch, self.image.is_floating_point())
        return [
            number
            for number, t in enumerate(tensors((self.args, self.kwargs)))
            if t.ndim >= 3 and (t.ndim, t.shape[0], t.is_floating_point()) == like
        ]

    @property
    def expected_orders(self) -> tuple[KnownOrder, ...]:
        """Where the cells of the first image may lie among the positions of an output."""
        packed = () if self.packing is None else self.packing.orders()
        return *packed, *places_in_sentence(tensors((self.args, self.kwargs)), self.packing)

    @property
    def pieces(self) -> tuple[int, tuple[int, ...]]:
        """How many frames, crops or pictures a prompt has, and the numbers of the image's own."""
        if self.form == "frames":
            return self.image.shape[2], tuple(range(self.image.shape[2]))
        if self.packing is None or self.packing.pieces.ndim == 3:
            return 1, (0,)
        return self.packing.pieces.shape[1], self.packing.order

    @property
    def least_axes(self) -> int:
        """How many axes an output over the image has at least: two without a batch axis.

        Networks that take sentences may join the patches of all pictures in one axis.
        """
        is_flat = self.packing is not None and self.packing.is_flat
        return 2 if is_flat or self.words else 3

    @property
    def words(self) -> bool:
        """Whether there are sentences among the inputs: whole numbers `[B, N]`."""
        return any(map(_are_words, tensors((self.args, self.kwargs))))

    @property
    def batch(self) -> int:
        """B, the number of images."""
        return self.image.shape[0]

    @property
    def signature(self) -> tuple[object, ...]:
        """What layouts hang on: the shapes and dtypes of all tensors, without the batch axis; what
        else is passed; which is the picture, how it is packed, and its place in a sentence."""
        leaves = pytree.tree_leaves((self.args, self.kwargs))
        shapes = (_shape_or_value(leaf) for leaf in leaves)
        places = places_of_pictures([leaf for leaf in leaves if isinstance(leaf, Tensor)])[:1]
        packed = () if self.packing is None else self.packing.signature
        return *shapes, self.at, self.only, *packed, *places

    def clone(self) -> ModelInputs:
        """Return the inputs as clones, for a pass in which the model may write on them."""
        with torch.inference_mode(False):
            args, kwargs = pytree.tree_map_only(Tensor, Tensor.clone, (self.args, self.kwargs))
        return replace(self, args=args, kwargs=kwargs)

    def take(self, rows: Tensor, *, same_image: bool = False) -> ModelInputs:
        """Return the inputs of these images; tensors without the batch axis stay as they are.

        With `same_image` all rows are of one image, and share its memory.
        """
        with torch.inference_mode(False), torch.no_grad():
            args, kwargs = self._changed(
                lambda number, tensor: self._pick(number, tensor, rows, same_image=same_image)
            )
            image = self._pick(self.at, self.image, rows, same_image=same_image)
        packing = None if self.packing is None else self.packing.take(rows)
        return replace(self, args=args, kwargs=kwargs, image=image, packing=packing)

    def _changed(
        self, change: Callable[[int, Tensor], Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with every tensor changed; `change` also gets its number."""
        numbers = itertools.count()
        args, kwargs = pytree.tree_map_only(
            Tensor, lambda tensor: change(next(numbers), tensor), (self.args, self.kwargs)
        )
        return args, kwargs

    def _pick(
        self, number: int, tensor: Tensor, rows: Tensor, *, same_image: bool = False
    ) -> Tensor:
        if number in self.unbatched or not tensor.ndim:
            return tensor.clone()
        if self.packing is not None and tensor.shape[0] != self.batch:
            return self._pick_group(tensor, self.packing, rows)
        if tensor.shape[0] != self.batch:
            return tensor.clone()
        if same_image:
            return tensor[rows[0], None].expand(len(rows), *tensor.shape[1:])
        return tensor.index_select(0, rows.to(tensor.device))

    def _pick_group(self, tensor: Tensor, packing: Packing, rows: Tensor) -> Tensor:
        """Return the rows of a tensor that has several for each prompt, such as one per picture."""
        several, rest = divmod(tensor.shape[0], self.batch)
        if rest or several not in packing.counts():
            return tensor.clone()
        by_prompt = tensor.reshape(self.batch, several, *tensor.shape[1:])
        return by_prompt.index_select(0, rows.to(tensor.device)).flatten(0, 1)

    def on(self, images: Tensor, rows: Tensor | None = None) -> ModelInputs:
        """Return the inputs with other images `[M, C, *image]` that replace the images `rows`.

        Every other tensor is a clone, so that the model may write on it.
        """
        images = as_plain(images)

        def substitute(number: int, tensor: Tensor) -> Tensor:
            if number == self.at:
                return images
            return tensor.clone() if rows is None else self._pick(number, tensor, rows)

        with torch.inference_mode(False), torch.no_grad():
            args, kwargs = self._changed(substitute)
        packing = self.packing and (self.packing if rows is None else self.packing.take(rows))
        return replace(self, args=args, kwargs=kwargs, image=images, packing=packing)

    def others(self, *, words: bool) -> tuple[object, ...]:
        """Return the values of all tensors but the images, as bytes; sentences if `words`."""
        numbers = enumerate(tensors((self.args, self.kwargs)))
        others = [t.detach() for number, t in numbers if number != self.at and t.ndim]
        kept = (t.cpu().contiguous() for t in others if words or not _are_words(t))
        return tuple(other.view(torch.uint8).numpy().tobytes() for other in kept)

    @property
    def maybe_batched(self) -> list[int]:
        """The numbers of the other tensors whose first axis is B: they may be one per image."""
        all_tensors = tensors((self.args, self.kwargs))
        candidates = (i for i, t in enumerate(all_tensors) if t.ndim and t.shape[0] == self.batch)
        return [i for i in candidates if i != self.at] if self.batch > 1 else []

    def first(self, count: int) -> ModelInputs:
        """Return the inputs of the first `count` images, repeated if there are fewer."""
        with torch.inference_mode(False):
            return self.take(torch.arange(count, device="cpu") % self.batch)

    def annotate(self, error: Exception, model: nn.Module) -> None:
        """Add a note to the model's own exception that says what the inputs were."""
        error.add_note(note_on_images(self.image, model, error))


def _shape_or_value(leaf: object) -> object:
    """Return the shape and dtype of a tensor, a constant itself, and the type of anything else."""
    if isinstance(leaf, Tensor):
        return leaf.shape[1:], leaf.dtype
    return leaf if isinstance(leaf, bool | int | float | str) else type(leaf)


def _are_words(tensor: Tensor) -> bool:
    """Return whether a tensor may hold sentences: whole numbers `[B, N]`."""
    return tensor.ndim == 2 and not tensor.is_floating_point() and tensor.dtype != torch.bool
