"""What all types of a recipe are built on: frozen, no unknown keys, and the kinds of names.

Modules of such types do without `from __future__ import annotations`: pydantic would compile each annotation again,
and every command would wait for it.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from joyctl.recipe import mixrules, rules

# Editors and joyctl's own messages show `patternErrorMessage` where a pattern does not match.
NAME = "use lower-case letters, digits and '_', beginning with a letter"
_FOLDER = "use lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit"
_METRIC = "give metric,filter as lm-eval names them, such as acc_norm,none"
_REFERENCE = "use lower-case letters, digits, '_' and '-', beginning with a letter or digit"
_POLICY = "give renormalise, renormalise-category, shrink or replace:<source>"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", json_schema_extra={"patternErrorMessage": NAME})]
FolderName = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", json_schema_extra={"patternErrorMessage": _FOLDER})
]
ReferenceName = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", json_schema_extra={"patternErrorMessage": _REFERENCE})
]
Share = Annotated[float, Field(gt=0, lt=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Category = Literal["large_cc", "small_cc", "domain", "code"]
DropPolicy = Annotated[
    str,
    Field(
        pattern=r"^(renormalise|renormalise-category|shrink|replace:[a-z][a-z0-9_]*)$",
        json_schema_extra={"patternErrorMessage": _POLICY},
    ),
]
Within = Annotated[
    # The schema is for editors: what does not fit is told by the check, once and not for each choice.
    Annotated[str, Field(json_schema_extra={"pattern": mixrules.WAY, "patternErrorMessage": mixrules.WITHIN})]
    | dict[str, float],
    BeforeValidator(mixrules.check_within),
]
MetricAndFilter = Annotated[
    str, Field(pattern=r"^[^,\s]+,[^,\s]+$", json_schema_extra={"patternErrorMessage": _METRIC})
]


class Strict(BaseModel):
    """Frozen, and an unknown key is an error."""

    # No infinities: they have no place in JSON, and none of these settings means anything with one.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def _refuse(self, findings: Iterable[rules.Finding]) -> Self:
        """Raise one ValidationError for all findings, each at its own key; self when there is none."""
        errors = [
            InitErrorDetails(
                type=PydanticCustomError("rule", "{message}", {"message": f.message, "finding": f}),
                loc=f.loc,
                input=None,
            )
            for f in findings
        ]
        if errors:
            raise ValidationError.from_exception_data(type(self).__name__, errors)
        return self
