"""The page: a picture goes in; what models see, where they differ and how long they take comes out."""
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image

from cait_mm.demo.predictor import Predictor
from cait_mm.demo.views import difference, view
from cait_mm.errors import UserError, reason_of
from cait_mm.utils.speed import Timing, time_interleaved

ROUNDS, WARMUP = 5, 1


def require_gradio() -> ModuleType:
    """Gradio.

    Raises:
        UserError: It is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise UserError(f'the demo needs Gradio, which cannot be imported ({reason_of(error)}): pip install -r '
                        'requirements/demo.txt.') from error
    return gradio


def require_alike(predictors: Sequence[Predictor]) -> None:
    """Check that models can be compared.

    Raises:
        UserError: They have different tasks or classes.
    """
    first, *others = predictors
    for other in others:
        if other.kind != first.kind:
            raise UserError(f'{first.name} is a {first.kind} and {other.name} a {other.kind}: give two of one task.')
        if list(other.classes) != list(first.classes):
            raise UserError(f'{first.name} and {other.name} know different classes: give two that were trained on the '
                            'same.')


def build_page(predictors: Sequence[Predictor], examples: Sequence[str] = (), device: str = 'cpu') -> Any:
    """The page of one model, or of two of one task, as Gradio's ``Blocks``.

    Args:
        predictors: The models; a second one is compared with the first.
        examples: Pictures that are offered.
        device: Where the models are.

    Raises:
        UserError: Gradio is not installed, or the models cannot be compared.
    """
    gradio = require_gradio()
    require_alike(predictors)
    pictured, both = predictors[0].kind != 'classifier', len(predictors) > 1
    names = ' and '.join(predictor.name for predictor in predictors)
    with gradio.Blocks(analytics_enabled=False, title=names) as page:
        gradio.Markdown(f'## {names}\nDrop a picture: it stays on this machine.')
        message = gradio.Markdown(visible=False, elem_id='message')
        with gradio.Row():
            with gradio.Column():
                upload = gradio.Image(type='filepath', label='picture', sources=['upload', 'clipboard'], height=320)
                upload.preprocess = _path_of  # Gradio's own opens the file, and a broken one is a traceback
                if examples:
                    gradio.Examples([[example] for example in examples], upload, label='or take one of these')
            times = gradio.Markdown(elem_id='times')
        with gradio.Row():
            shown = [_component(gradio, predictor, f'{predictor.name} sees') for predictor in predictors]
        words = gradio.Markdown(elem_id='difference', visible=both)
        apart = gradio.AnnotatedImage(label='where they differ', visible=both and pictured, elem_id='apart')
        outputs = [message, times, *shown, words, apart]

        def respond(path: str | None) -> list[Any]:
            try:
                found = look(predictors, path, device) if path else [None] * (len(outputs) - 1)
                return [gradio.update(value='', visible=False), *found]
            except UserError as error:
                sentence = str(error).replace(f'picture {path}', 'the picture').replace(str(path), 'the picture')
                return [gradio.update(value=f'**This did not work:** {sentence}', visible=True),
                        *[None] * (len(outputs) - 1)]

        upload.change(respond, upload, outputs, show_progress='full')
    return page


def look(predictors: Sequence[Predictor], path: str, device: str = 'cpu') -> list[Any]:
    """How long the models take, what each sees, and for two how they differ in words and as a picture.

    Raises:
        UserError: The file is no picture, or a damaged one.
    """
    picture = predictors[0].fitting_picture(path)
    with tempfile.TemporaryDirectory() as folder:  # as a format that every pipeline reads
        copy = Path(folder, 'picture.png')
        picture.save(copy)
        inputs = [predictor.inputs(str(copy)) for predictor in predictors]
    calls = {predictor.name: partial(predictor.model.test_step, one) for predictor, one in zip(predictors, inputs)}
    timings = time_interleaved(calls, ROUNDS, WARMUP, device=device)
    with torch.inference_mode():
        seen = [predictor.seen(call()) for predictor, call in zip(predictors, calls.values())]
    views = [view(predictor, picture, one) for predictor, one in zip(predictors, seen)]
    compared = difference(*predictors, picture, seen) if len(predictors) > 1 else (None, None)
    return [times_of(timings, picture, path), *views, *compared]


def times_of(timings: dict[str, Timing], picture: Image.Image, path: str) -> str:
    """A table of the measured times, as Markdown."""
    first = next(iter(timings.values()))
    rows = [f'| {name} | {1000 * timing.median:.0f} ms | {first.median / timing.median:.2f}x |'
            for name, timing in timings.items()]
    noisy = any(timing.noisy for timing in timings.values())
    return '\n'.join([
        f'| | median of {ROUNDS} runs in turn | speed |', '| --- | --- | --- |', *rows, '',
        f'One picture of {picture.width}x{picture.height}, from its tensor to the prediction.'
        + ' The times differed by more than 10 %: something else runs here.' * noisy])


def _path_of(payload: Any) -> str | None:
    return payload and payload.path


def _component(gradio: ModuleType, predictor: Predictor, label: str) -> Any:
    if predictor.kind == 'classifier':
        return gradio.Label(label=label, num_top_classes=5)
    colours = {name: f'#{bytes(colour).hex()}' for name, colour in zip(predictor.classes, predictor.colours)}
    return gradio.AnnotatedImage(label=label, color_map=colours)
