"""The recipes of the MoCo papers, value for value.

Each is what a user would send, but for the dataset. Where a paper's code and its text differ, the
code is followed.
"""

from trainer.encoders.spec import EncoderSpec
from trainer.evaluators.knn.spec import KnnSpec
from trainer.methods.moco.spec import MoCoSpec
from trainer.optim_spec import CosineSpec, SgdSpec, StepsSpec
from trainer.spec import JobSpec
from trainer.views.spec import ViewsSpec


def moco_v1(dataset: str) -> JobSpec:
    """Version 1 on ImageNet, ResNet-50, 200 epochs: 60.6 % linear top-1.

    Sources: arXiv:1911.05722 section 3.3 and 4.1; `main_moco.py` of the authors with its defaults:
    lr 0.03 for a batch of 256, falling tenfold at epochs 120 and 160, weight decay 1e-4,
    K 65536, m 0.999, T 0.07, a linear head of 128; crop 0.2 to 1, grey 0.2, then jitter of 0.4
    always (hue too), flip. Eight devices are simulated by eight groups of batch norm.
    """
    return JobSpec(
        dataset=dataset,
        epochs=200,
        batch_rows=256,
        encoder=EncoderSpec(name="resnet50", stem="imagenet"),
        method=MoCoSpec(
            queue_rows=65_536,
            momentum=0.999,
            temperature=0.07,
            dim=128,
            head="linear",
            bn="split",
            bn_splits=8,
            mask_own_keys=False,
        ),
        views=ViewsSpec(
            side_px=224,
            crop_scale=(0.2, 1.0),
            flip_p=0.5,
            jitter_p=1.0,
            brightness=0.4,
            contrast=0.4,
            saturation=0.4,
            hue=0.4,
            grey_p=0.2,
            grey_first=True,
            blur_p=0.0,
        ),
        optim=SgdSpec(lr=0.03, momentum=0.9, weight_decay=1e-4),
        schedule=StepsSpec(epochs=(120, 160), factor=0.1),
        evaluation=None,
    )


def moco_v2(dataset: str) -> JobSpec:
    """Version 2 on ImageNet, ResNet-50, 200 epochs: 67.5 % linear top-1.

    Sources: arXiv:2003.04297 section 3; `main_moco.py --mlp --moco-t 0.2 --aug-plus --cos`:
    version 1 with a hidden layer of 2048 in the head, T 0.2, jitter with chance 0.8 and hue 0.1,
    blur of sigma 0.1 to 2 with chance 0.5, and a cosine moved once per epoch.
    """
    first = moco_v1(dataset)
    return first.model_copy(
        update={
            "method": first.method.model_copy(update={"head": "mlp", "temperature": 0.2}),
            "views": first.views.model_copy(
                update={
                    "jitter_p": 0.8,
                    "hue": 0.1,
                    "grey_first": False,
                    "blur_p": 0.5,
                    "blur_sigma_px": (0.1, 2.0),
                }
            ),
            "schedule": CosineSpec(per="epoch"),
        }
    )


def moco_cifar10(dataset: str, *, test_dataset: str | None, symmetric: bool = False) -> JobSpec:
    """The authors' CIFAR-10 notebook, ResNet-18, 200 epochs: kNN 82.6 %, symmetric 85.3 %.

    Source: `colab/moco_cifar10_demo.ipynb` of the authors: batch 512, lr 0.06, weight decay 5e-4,
    cosine per epoch, K 4096, m 0.99, T 0.1, a linear head of 128, 8 groups of batch norm; crop
    0.08 to 1 of 32 px, flip, jitter 0.4/0.4/0.4/0.1 with chance 0.8, grey 0.2, no blur; the last
    rows of an epoch are dropped; kNN of k 200 and T 0.1 on the embedding.
    """
    return JobSpec(
        dataset=dataset,
        test_dataset=test_dataset,
        epochs=200,
        batch_rows=512,
        encoder=EncoderSpec(name="resnet18", stem="cifar"),
        method=MoCoSpec(
            queue_rows=4096,
            momentum=0.99,
            temperature=0.1,
            dim=128,
            head="linear",
            symmetric=symmetric,
            bn="split",
            bn_splits=8,
            mask_own_keys=False,
        ),
        views=ViewsSpec(
            side_px=32,
            crop_scale=(0.08, 1.0),
            flip_p=0.5,
            jitter_p=0.8,
            hue=0.1,
            grey_p=0.2,
            blur_p=0.0,
        ),
        optim=SgdSpec(lr=0.06, momentum=0.9, weight_decay=5e-4),
        schedule=CosineSpec(per="epoch"),
        evaluation=KnnSpec(k=200, temperature=0.1, feature="projection"),
    )
